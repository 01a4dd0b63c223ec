"""Allows one training at a time in a working directory."""

import contextlib
import errno
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
from absl import logging

from mamkpd_jax import processes
from mamkpd_jax.artifact.checkpoints import write_failure_as_user_error
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import write_json

LOCK, HOLDER = ".lock", "training.json"  # the lock, and a note of its holder for messages
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextlib.contextmanager
def sole_training(workdir: Path) -> Iterator[None]:
    """Creates `workdir` and keeps other trainings out of it; process 0 does so for all processes of a run.

    The system releases the lock when the process ends, even if it is killed. Programs that only read the folder take no
    lock. Choice: on a file system without locks the run starts with a warning.

    Raises:
        UserError: another training holds the lock, or the folder can't be written.
    """
    if not processes.is_process_0():
        yield
        return
    lock, holder = filelock.FileLock(workdir / LOCK), workdir / HOLDER
    with write_failure_as_user_error(lambda reason: _unwritable(workdir, reason)):
        workdir.mkdir(parents=True, exist_ok=True)
        _acquire(lock, workdir)
    try:
        with write_failure_as_user_error(lambda reason: _unwritable(workdir, reason)):
            if earlier := _described(holder):
                logging.info("an earlier training in %s (%s) did not finish", workdir, earlier)
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            write_json(holder, {"process": os.getpid(), "host": platform.node(), "started": now})
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink()
        lock.release()


def _acquire(lock: filelock.BaseFileLock, workdir: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError(
            f"{workdir} is in use by another training ({_described(workdir / HOLDER) or 'just started'}); wait for it, "
            "stop it, or give another --workdir"
        ) from error
    except (OSError, NotImplementedError) as error:  # filelock raises either where there are no locks
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        logging.warning("%s can't be locked (%s): make sure that no other training runs there", workdir, error)


def _unwritable(workdir: Path, reason: str) -> str:
    return f"{workdir} can't be written ({reason}); free space or give another --workdir"


def _described(holder: Path) -> str:
    """The training that a holder file names, for messages; empty if it names none."""
    try:
        about = json.loads(holder.read_bytes())
        return f"process {about['process']} on host {about['host']}, started {about['started']}"
    except (OSError, ValueError, TypeError, KeyError):
        return ""
