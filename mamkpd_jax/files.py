"""Atomic writes, which leave a file or a folder complete or absent, and checksums."""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mamkpd_jax.errors import UserError

_REMOVALS = 100  # attempts, 0.1 s apart
_ABSENT = 10  # successive attempts that find no folder: then it counts as removed


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary file name beside `path`; the file replaces `path` at the end, or is removed on an error.

    Missing parent folders are created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty temporary folder beside `folder`; it becomes `folder` at the end, or is removed on an error.

    `folder` must not exist. The temporary folder of an interrupted process is removed first.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(folder)
    except BaseException:
        _remove(partial)
        raise


def write_json(path: Path, data: Any) -> None:
    """Writes data as JSON, atomically; raises ValueError for NaN, which JSON lacks."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def check_digest(path: Path, sha256: str, remedy: str) -> None:
    """Raises UserError, whose message ends with `remedy`, if a file is missing or has another SHA-256."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); {remedy}") from error
    if found != sha256:
        raise UserError(f"{path} is damaged (SHA-256 {found[:12]}..., expected {sha256[:12]}...); {remedy}")


def _remove(folder: Path) -> None:
    """Removes a folder until it stays absent: after a failed write, a library's threads may create it again."""
    absent = 0
    for _ in range(_REMOVALS):
        absent = 0 if folder.exists() else absent + 1
        if absent == _ABSENT:
            return
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)
