"""Artifacts in orbax checkpoints: reads them from run directories, and writes them to new ones."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mamkpd_jax.artifact.artifact import Artifact, Description, describe, described, shapes, with_arrays
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_folder

LATEST, BEST = "checkpoints", "best"  # folders below the working directory
_DESCRIPTION = "description"

# These options write nothing. Choice: not read_only, because orbax then warns that the folder is read-only.
_READING = ocp.CheckpointManagerOptions(create=False, save_root_metadata=False, enable_async_checkpointing=False)


def read_checkpoint(workdir: Path, *, best: bool = False, ema: bool = True) -> Artifact:
    """The newest checkpoint below `workdir`, as numpy arrays, whatever devices it was trained on.

    Args:
        best: read the checkpoint with the best evaluation instead of the newest.
        ema: read the parameters' moving average, if the run has one, instead of the parameters.

    Raises:
        UserError: there is no checkpoint, it is damaged, or it has NaN or infinity.
    """
    folder = workdir.absolute() / (BEST if best else LATEST)
    if not folder.is_dir():
        raise UserError(f"no {folder.name} in {workdir}; give the folder of a training run")
    with ocp.CheckpointManager(folder, options=_READING) as manager:
        step = manager.latest_step()
        if step is None:
            raise UserError(f"no finished checkpoint in {folder}; give the folder of a training run")
        with damage_as_user_error(folder / str(step)):
            model = read_description(manager, step)
            params, batch_stats = _arrays(manager, step, model, ema)
        try:
            return with_arrays(model, params, batch_stats)
        except UserError as error:
            raise UserError(f"step {step} of {folder}: {error}") from error


def write_checkpoint(artifact: Artifact, workdir: Path) -> None:
    """Writes a checkpoint of the artifact, atomically. A run can evaluate it or start from it, but not resume it.

    Raises:
        UserError: `workdir` has checkpoints already, or can't be written.
    """
    folder = workdir.absolute() / LATEST
    if folder.exists():
        raise UserError(f"{workdir} has checkpoints already; give a new folder")
    state = {"params": artifact.params, "batch_stats": artifact.batch_stats}
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), **description_items(artifact))

    def message(reason: str) -> str:
        return f"{workdir} can't be written ({reason}); free space or give another"

    with write_failure_as_user_error(message), atomic_folder(folder) as partial:
        check_space(partial, state)
        with ocp.CheckpointManager(partial) as manager:
            manager.save(artifact.step, args=items)


def description_items(model: Description) -> dict[str, Any]:
    """The orbax items that a checkpoint holds beside its arrays."""
    return {_DESCRIPTION: ocp.args.JsonSave(describe(model))}


def read_description(manager: ocp.CheckpointManager, step: int) -> Description:
    """The description in a checkpoint, as `description_items` wrote it."""
    saved = manager.restore(step, args=ocp.args.Composite(**{_DESCRIPTION: ocp.args.JsonRestore()}))
    return described(saved[_DESCRIPTION])


def _arrays(manager: ocp.CheckpointManager, step: int, model: Description, ema: bool) -> tuple[Any, Any]:
    folder = manager.directory / str(step) / "state"
    if not folder.exists():
        raise ValueError("its arrays are missing")
    saved = ocp.PyTreeCheckpointHandler().metadata(folder)
    name = "ema" if ema and "ema" in saved.tree else "params"
    params, batch_stats = shapes(model)
    wanted = {name: params, "batch_stats": batch_stats}
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    restore = ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True)
    state = manager.restore(step, args=ocp.args.Composite(state=restore))["state"]
    return state[name], state["batch_stats"]


@contextlib.contextmanager
def write_failure_as_user_error(message: Callable[[str], str]) -> Iterator[None]:
    """Turns the operating system's write errors into UserError; `message` formats their reason."""
    try:
        yield
    except (OSError, ValueError) as error:
        # TensorStore reports a full disk as a ValueError: first its files and ranges, then the system's reason.
        if isinstance(error, ValueError) and "os_error_code" not in str(error):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error).rsplit(": ", 1)[-1]
        raise UserError(message(reason)) from error


@contextlib.contextmanager
def damage_as_user_error(checkpoint: Path) -> Iterator[None]:
    """Turns the errors of reading a checkpoint into UserError, which reports it as damaged."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:  # orbax and TensorStore raise all of these
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise UserError(
            f"checkpoint {checkpoint} is damaged ({reason}); copy it again, or remove it to use the previous one"
        ) from error


def check_space(folder: Path, state: Any) -> None:
    """Raises OSError if the disk has no room for a checkpoint: orbax would fail with a page of tracebacks."""
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {needed >> 20} MiB needed, {free >> 20} free")
