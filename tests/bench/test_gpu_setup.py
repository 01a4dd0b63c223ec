"""The environment of `make gpu`, made beside a Python that has packages."""

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def test_modules_beside_the_setup_shadow_no_library():
    """Python started with a file looks for modules in the file's folder first."""
    beside = {path.stem for path in (_ROOT / "mamkpd_jax" / "bench").iterdir()}
    assert "gpu_setup" in beside and not beside & sys.stdlib_module_names


@pytest.mark.slow  # pip starts three times
def test_setup_uses_packages_of_a_virtual_environment(tmp_path):
    system, python = tmp_path / "system" / "bin" / "python", tmp_path / "gpu" / "bin" / "python"
    for folder in (system, python):
        command = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", folder.parents[1]]
        subprocess.run(command, check=True)
    # The stand-in for the machine's Python: what this test runs with, and a JAX of another version.
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
