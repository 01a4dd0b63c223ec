"""The lock of a working directory within one process; tests/test_interruptions.py tests it with two."""

import errno
import fcntl
import os
import re

import pytest

from mamkpd_jax.errors import UserError
from mamkpd_jax.training.lock import HOLDER, LOCK, sole_training


def test_second_training_is_refused_until_the_first_ends(tmp_path):
    workdir = tmp_path / "runs" / "x"
    for _ in range(2):
        with sole_training(workdir):
            message = (
                f"{workdir} is in use by another training \\(process {os.getpid()} on host .+, started [-0-9: ]+\\); "
            )
            with pytest.raises(UserError, match=message), sole_training(workdir):
                pass
            assert (workdir / HOLDER).exists(), "the refused training leaves it"
        assert [path.name for path in workdir.iterdir()] == [LOCK]


def test_an_error_releases_the_lock(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), sole_training(tmp_path):
            raise ZeroDivisionError
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]


@pytest.mark.parametrize("content", ["", "[1]", "{}"])
def test_a_damaged_holder_file_is_ignored(content, tmp_path):
    (tmp_path / HOLDER).write_text(content, encoding="utf-8")
    with sole_training(tmp_path):
        (tmp_path / HOLDER).write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match="another training \\(just started\\)"), sole_training(tmp_path):
            pass


def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/x can't be written \\(Not a directory\\); free space or give another"):
        with sole_training(tmp_path / "file" / "x"):
            pass
    (tmp_path / HOLDER).mkdir()
    message = re.escape(f"{tmp_path} can't be written (Is a directory)")
    for _ in range(2):  # the first one has released the lock
        with pytest.raises(UserError, match=message), sole_training(tmp_path):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_systems_without_locks_get_a_warning(number, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with sole_training(tmp_path):
        pass
    assert caplog.messages == [
        f"{tmp_path} can't be locked ([Errno {number}] {os.strerror(number)}): make sure that no other training runs "
        "there"
    ]
