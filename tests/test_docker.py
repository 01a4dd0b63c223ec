"""The Dockerfile: its style, and the files and extras that it names."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "Dockerfile"


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    found = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_extras_of_the_image_exist():
    """pip only warns about an unknown extra, and the image would lack its packages."""
    extras = re.search(r"'\.\[(.+)\]'", DOCKERFILE.read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extras and set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_build_context_has_the_package():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line[0] == "!"}
    assert all((ROOT / name).exists() for name in kept)
    assert kept == {"mamkpd_jax", "configs", "LICENSE", "README.md", "pyproject.toml", "requirements.txt"}


@pytest.mark.slow
def test_training_needs_no_pyarrow(tmp_path):
    """The image lacks it, although tensorflow_datasets requires it."""
    code = "import sys; sys.modules['pyarrow'] = None; from mamkpd_jax.__main__ import main; main()"
    sizes = [f"--config.data.synthetic_{split}_images=16" for split in ("train", "val")]
    train = ["train", "--config=quickstart", f"--workdir={tmp_path / 'run'}", "--config.optim.epochs=1", *sizes]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, *train], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0 and (tmp_path / "run" / "results.json").exists(), done.stderr.decode()
