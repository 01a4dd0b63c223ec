"""Where a test has its files."""

from pathlib import Path
from typing import Any

from mamkpd_jax.config import DataConfig


def data_at(root: Path, build_dir: Path, **fields: Any) -> DataConfig:
    """The config of the files in a folder, built in another."""
    return DataConfig(root=str(root), build_dir=str(build_dir), **fields)
