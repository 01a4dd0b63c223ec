"""Runs of several processes, on one or more hosts: joining a run, exchanging data, waiting for each other."""

import contextlib
import os
import sys
from collections.abc import Iterator

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from mamkpd_jax.errors import UserError


def join(coordinator: str | None, n_processes: int | None, process_id: int | None) -> None:
    """Joins this process to a run of several. Without arguments, SLURM, Kubernetes or Open MPI describe the run.

    Args:
        coordinator: host:port of process 0, the same for all.

    Raises:
        UserError: some arguments are missing, or the other processes can't be reached.
    """
    given = {"--coordinator": coordinator, "--num_processes": n_processes, "--process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise UserError(f"{', '.join(missing)} is missing; give {', '.join(given)} together")
    try:
        jax.distributed.initialize(coordinator, n_processes, process_id)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"this process can't join the others ({reason}); start all of them at once, with one --coordinator, or "
            "under SLURM, Kubernetes or Open MPI"
        ) from error
    here = jax.process_index(), jax.process_count(), jax.local_device_count(), jax.device_count()
    logging.info("process %d of %d, with %d of %d devices", *here)


def is_process_0() -> bool:
    """Whether this is process 0, which alone writes reports and metrics."""
    return jax.process_index() == 0


def gather(rows: np.ndarray) -> np.ndarray:
    """The rows [n, ...] of all processes, in process order, on every process. Only n may differ between processes."""
    if jax.process_count() == 1:
        return rows
    counts = np.asarray(multihost_utils.process_allgather(np.array(len(rows))))
    padded = np.zeros((max(1, counts.max()), *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    # As bytes, because JAX would convert 64-bit numbers to 32 bits.
    tables = np.asarray(multihost_utils.process_allgather(padded.reshape(len(padded), -1).view(np.uint8)))
    every = np.concatenate([table[:n] for table, n in zip(tables, counts, strict=True)])
    return every.view(rows.dtype).reshape(-1, *rows.shape[1:])


@contextlib.contextmanager
def process_0_first() -> Iterator[None]:
    """Runs the block on process 0 first, then on the others."""
    if not is_process_0():
        multihost_utils.sync_global_devices("the first process is done")
    yield
    if is_process_0() and jax.process_count() > 1:
        multihost_utils.sync_global_devices("the first process is done")


@contextlib.contextmanager
def exit_at_once_on_error() -> Iterator[None]:
    """Ends the process at once on an error, if the run has several processes.

    A regular exit would wait for the other processes, which wait for this one's part of a step. They see its end as a
    failed exchange between devices, and report it in one line.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1:
            raise
        # A failed exchange comes as a JaxRuntimeError from a program and as a ValueError from orbax.
        if any(word in str(error) for word in ("Gloo", "NCCL", "coordination service")):
            logging.error("%s", str(error).splitlines()[0])
            error = UserError(
                "another process of this run has ended or can't be reached; look at its output, and start all "
                "processes again: the run resumes from the newest checkpoint"
            )
        elif not isinstance(error, UserError):
            logging.exception("process %d ends", jax.process_index())
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(1)
