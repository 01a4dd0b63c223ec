"""Weights from a training run's folder, and into a new one."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from mamkpd_jax.config import Config
from mamkpd_jax.convert.weights import Weights
from mamkpd_jax.data.datasets import skeleton_of
from mamkpd_jax.errors import UserError
from mamkpd_jax.models.mamkpd import MamKPD
from mamkpd_jax.training.optimizer import optimizer
from mamkpd_jax.training.state import split

_FOLDER = "checkpoints"


def read_checkpoint(workdir: Path) -> Weights:
    """The newest checkpoint below `workdir`, in numpy arrays, whatever devices it was trained on.

    Raises:
        UserError: there is none.
    """
    folder = workdir.resolve() / _FOLDER
    if not folder.is_dir():
        raise UserError(f"no checkpoints in {workdir}; give the folder of a training run")
    with ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(read_only=True)) as manager:
        step = manager.latest_step()
        if step is None:
            raise UserError(f"no finished checkpoint in {folder}; give the folder of a training run")
        saved = manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]
        config = _config(saved)
        n_joints = skeleton_of(config.data).n_joints
        _, params, batch_stats = split(nnx.eval_shape(lambda: MamKPD(config.model, n_joints, rngs=nnx.Rngs(0))))
        wanted = {"params": params, "batch_stats": batch_stats}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        restore = ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True)
        state = manager.restore(step, args=ocp.args.Composite(state=restore))["state"]
    return Weights(config=config, step=step, params=state["params"], batch_stats=state["batch_stats"])


def write_checkpoint(weights: Weights, workdir: Path) -> None:
    """A checkpoint that eval.py reads: the weights, a fresh optimizer state, and the config.

    Raises:
        UserError: `workdir` has checkpoints already.
    """
    folder = workdir.resolve() / _FOLDER
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
    items = ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        config=ocp.args.JsonSave(dataclasses.asdict(weights.config)),
    )
    with ocp.CheckpointManager(folder) as manager:
        manager.save(weights.step, args=items)


def _config(saved: dict[str, Any]) -> Config:
    """A Config from its JSON form; a field that this version lacks is left out."""

    def fill(section: Any, values: dict[str, Any]) -> Any:
        for name, value in values.items():
            if isinstance(value, dict):
                fill(getattr(section, name), value)
            elif hasattr(section, name):
                setattr(section, name, tuple(value) if isinstance(value, list) else value)
        return section

    return fill(Config(), saved)
