"""Checkpoints of a run, written by orbax: complete or absent, resumed from automatically."""

import dataclasses
from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp

from mamkpd_jax.config import Config
from mamkpd_jax.errors import UserError
from mamkpd_jax.training.state import TrainState


class Checkpointer:
    """Saves and restores the training state, the position in the data and the config, below `workdir`/checkpoints.

    Saving is asynchronous and atomic: orbax renames a checkpoint into place when all of it is written.
    """

    def __init__(self, workdir: Path, config: Config, *, read_only: bool = False):
        """Opens the folder, made first unless `read_only`; then a missing one raises UserError."""
        self._folder = workdir.resolve() / "checkpoints"
        self._config = config
        if read_only and not self._folder.is_dir():
            raise UserError(f"no checkpoints in {workdir}; train first, or give the --workdir of a training run")
        options = ocp.CheckpointManagerOptions(max_to_keep=config.keep_checkpoints, read_only=read_only)
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, None where there is none."""
        return self._manager.latest_step()

    def maybe_save(self, step: int, state: TrainState, data: grain.DatasetIterator, *, force: bool = False) -> None:
        """Saves every `config.checkpoint_every_steps` steps, and whenever forced to; never the same step twice."""
        due = step % self._config.checkpoint_every_steps == 0
        if (due or force) and step != self._manager.latest_step():
            items = ocp.args.Composite(
                state=ocp.args.StandardSave(_as_tree(state)),
                data=grain.checkpoint.CheckpointSave(data),
                config=ocp.args.JsonSave(dataclasses.asdict(self._config)),
            )
            self._manager.save(step, args=items, force=force)

    def restore(self, state: TrainState, data: grain.DatasetIterator | None = None) -> TrainState:
        """The newest checkpoint, onto the shardings of `state`; moves `data` to where it was.

        Raises:
            UserError: there is no checkpoint, it is of another model, or `data` can't go on from it.
        """
        step = self.latest_step
        if step is None:
            raise UserError(f"no checkpoint below {self._folder}; train first, or give another --workdir")
        self._check_same_run(step, with_data=data is not None)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _as_tree(state))
        items: dict[str, Any] = {"state": ocp.args.StandardRestore(abstract)}
        if data is not None:
            items["data"] = grain.checkpoint.CheckpointRestore(data)
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        return TrainState(**restored["state"])

    def close(self) -> None:
        """Waits until the last save is on disk."""
        self._manager.close()

    def _check_same_run(self, step: int, with_data: bool) -> None:
        saved = self._manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]
        ours = dataclasses.asdict(self._config)
        fields = [("model", name) for name in ours["model"] if name not in ("scan", "dtype", "drop_path")]
        fields += [("data", name) for name in ("dataset", "skeleton", "codec", "sigma_px")]
        if with_data:
            fields += [("data", "workers"), ("optim", "batch_size")]
        for section, field in fields:
            was, now = saved[section].get(field), ours[section][field]
            now = list(now) if isinstance(now, tuple) else now
            if was != now:
                raise UserError(
                    f"checkpoint {self._folder / str(step)} was trained with config.{section}.{field}={was}, this run "
                    f"has {now}; give the config that it was trained with, or another --workdir"
                )
        if with_data and not (self._folder / str(step) / "data").exists():
            raise UserError(
                f"checkpoint {self._folder / str(step)} holds converted weights alone, no run to go on with; "
                "evaluate it, or train in another --workdir"
            )


def _as_tree(state: TrainState) -> dict[str, Any]:
    return {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
