"""Writable copies of the shared data, whose files may be read-only."""

import shutil
from collections.abc import Callable
from pathlib import Path


def copy_folder(source: Path, target: Path, ignore: Callable | None = None) -> None:
    """Copies a folder and makes the copy writable for its owner, whatever the source's modes."""
    shutil.copytree(source, target, ignore=ignore)
    for path in (target, *target.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
