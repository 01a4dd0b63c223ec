"""A helper that makes configs for data sets in test folders."""

from pathlib import Path
from typing import Any

from mamkpd_jax.config import DataConfig


def data_at(root: Path, build_dir: Path, **fields: Any) -> DataConfig:
    """The config of a data set whose files are in `root` and which is built in `build_dir`."""
    return DataConfig(root=str(root), build_dir=str(build_dir), **fields)
