"""The environment of `make gpu`, which uses the packages of another Python."""

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def test_neighbouring_modules_shadow_no_standard_library():
    """A script's folder comes first in Python's search path."""
    beside = {path.stem for path in (_ROOT / "mamkpd_jax" / "bench").iterdir()}
    assert "gpu_setup" in beside and not beside & sys.stdlib_module_names


@pytest.mark.slow  # pip starts three times
def test_setup_uses_packages_of_a_virtual_environment(tmp_path):
    system, python = tmp_path / "system" / "bin" / "python", tmp_path / "gpu" / "bin" / "python"
    for folder in (system, python):
        command = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", folder.parents[1]]
        subprocess.run(command, check=True)
    # A fake of the machine's Python: the packages of this test's Python, and another version of JAX.
    site = next((tmp_path / "system" / "lib").glob("python*/site-packages"))
    (site / "all.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")), encoding="utf-8")
    about = site / "jax-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: jax\nVersion: 0.1.0\n", encoding="utf-8")
    command = [
        python,
        _ROOT / "mamkpd_jax" / "bench" / "gpu_setup.py",
        f"--system={system}",
        f"--wheels={tmp_path / 'none'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "missing: jax>=0.10.2,<0.13 (found 0.1.0)" in done.stdout
    assert "missing: flax" not in done.stdout and "jax 0.1.0, jaxlib 0." in done.stdout
