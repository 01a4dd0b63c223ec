"""Copies of the shared data, whose files may be read-only, for tests that change them as an ordinary user."""

import shutil
from collections.abc import Callable
from pathlib import Path


def copy_folder(source: Path, target: Path, ignore: Callable | None = None) -> None:
    """A copy that its owner may change, whatever the modes of the source."""
    shutil.copytree(source, target, ignore=ignore)
    for path in (target, *target.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
