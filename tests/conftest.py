"""Fixtures of the whole suite; array annotations of the package are checked while it is tested."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pytest
from jaxtyping import install_import_hook

install_import_hook("mamkpd_jax", "beartype.beartype")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images with keypoints that stands beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found: {folder}")
    return folder
