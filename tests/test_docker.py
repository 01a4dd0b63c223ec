"""The Dockerfile: its style, and that what it names exists."""

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
    """pip only warns of others, and their packages would be missing."""
    extras = re.search(r"'\.\[(.+)\]'", DOCKERFILE.read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extras and set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_build_context_has_the_package():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line[0] == "!"}
    assert all((ROOT / name).exists() for name in kept)
    assert kept == {"mamkpd_jax", "configs", "LICENSE", "README.md", "pyproject.toml", "requirements.txt"}
