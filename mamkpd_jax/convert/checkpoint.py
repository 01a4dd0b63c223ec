"""Weights from a training run's folder, and into a new one."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from mamkpd_jax.convert.weights import Weights, not_finite
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_folder
from mamkpd_jax.model.mamkpd import abstract, split
from mamkpd_jax.registry import DATASETS
from mamkpd_jax.training.checkpoint import (
    BEST,
    LATEST,
    check_space,
    damage_as_user_error,
    description_items,
    restore_description,
    write_failure_as_user_error,
)
from mamkpd_jax.training.optimizer import optimizer

# Without the other two orbax warns that it sets them itself.
_READ_ONLY = ocp.CheckpointManagerOptions(read_only=True, save_interval_steps=0, create=False)


def read_checkpoint(workdir: Path, *, best: bool = False, ema: bool = True) -> Weights:
    """The newest checkpoint below `workdir`, in numpy arrays, whatever devices it was trained on.

    Args:
        best: the checkpoint with the best evaluation in place of the newest.
        ema: the parameters' moving average, where the run has one, in place of the parameters.

    Raises:
        UserError: there is none, it is damaged, or it has NaN or infinity.
    """
    folder = workdir.absolute() / (BEST if best else LATEST)
    if not folder.is_dir():
        raise UserError(f"no {folder.name} in {workdir}; give the folder of a training run")
    with ocp.CheckpointManager(folder, options=_READ_ONLY) as manager:
        step = manager.latest_step()
        if step is None:
            raise UserError(f"no finished checkpoint in {folder}; give the folder of a training run")
        with damage_as_user_error(folder / str(step)):
            weights = _restored(manager, step, ema)
    if (name := not_finite(weights)) is not None:
        raise UserError(f"step {step} of {folder} has NaN or infinity in {name}; give a run that is sound")
    return weights


def _restored(manager: ocp.CheckpointManager, step: int, ema: bool) -> Weights:
    config, skeleton = restore_description(manager, step)
    if skeleton is None:
        skeleton = DATASETS[config.data.dataset].known_skeleton(config.data)
        if skeleton is None:
            raise UserError(
                f"step {step} of {manager.directory} was written by an earlier version, which did not keep the joints "
                "of the annotations' categories; train an epoch more, by --config.optim.epochs, to have them"
            )
    # The implementation of the scan is the run's, whose device may not be here; weights fit all of them.
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, scan="auto"))
    _, params, batch_stats = split(abstract(config.model, skeleton.n_joints))
    name = "ema" if ema and config.optim.ema_decay else "params"
    wanted = {name: params, "batch_stats": batch_stats}
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    restore = ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True)
    state = manager.restore(step, args=ocp.args.Composite(state=restore))["state"]
    return Weights(config=config, skeleton=skeleton, step=step, params=state[name], batch_stats=state["batch_stats"])


def write_checkpoint(weights: Weights, workdir: Path) -> None:
    """A checkpoint that eval.py reads: the weights, a fresh optimizer state, the config and the joints; or nothing.

    Raises:
        UserError: `workdir` has checkpoints already, or can't be written.
    """
    folder = workdir.absolute() / LATEST
    if folder.exists():
        raise UserError(f"{workdir} has checkpoints already; give a new folder")
    adam = optimizer(weights.config.optim, steps_per_epoch=1)
    params, batch_stats = jax.tree.map(jnp.asarray, (weights.params, weights.batch_stats))
    state = {
        "step": jnp.asarray(weights.step, jnp.int32),
        "params": params,
        "batch_stats": batch_stats,
        "opt_state": adam.init(params),
    }
    if weights.config.optim.ema_decay:
        state["ema"] = params
    items = ocp.args.Composite(
        state=ocp.args.StandardSave(state), **description_items(weights.config, weights.skeleton)
    )
    with write_failure_as_user_error(
        lambda reason: f"{workdir} can't be written ({reason}); free space or give another"
    ):
        with atomic_folder(folder) as partial:
            check_space(partial, state)
            with ocp.CheckpointManager(partial) as manager:
                manager.save(weights.step, args=items)
