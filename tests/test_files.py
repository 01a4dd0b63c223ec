"""Atomic writes of files and folders."""

import json
import threading

import pytest

from mamkpd_jax.files import atomic_folder, write_json


def test_nan_is_refused_and_the_old_file_kept(tmp_path):
    """Strict JSON readers reject NaN."""
    path = tmp_path / "report.json"
    write_json(path, {"AP": 0.5})
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(path, {"AP": value})
    assert json.loads(path.read_bytes()) == {"AP": 0.5}
    assert list(tmp_path.iterdir()) == [path]


def test_a_late_write_leaves_no_folder(tmp_path):
    late = []

    def fail() -> None:
        with atomic_folder(tmp_path / "new") as partial:
            late.append(threading.Timer(0.3, (partial / "arrays").mkdir, kwargs={"parents": True}))
            late[0].start()
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        fail()
    late[0].join()
    assert list(tmp_path.iterdir()) == []
