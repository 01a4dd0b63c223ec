"""A run's checkpoints, which orbax writes atomically and the run resumes from."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp
from absl import logging

from mamkpd_jax.artifact.artifact import Description, without_scan
from mamkpd_jax.artifact.checkpoints import (
    BEST,
    LATEST,
    check_space,
    damage_as_user_error,
    description_items,
    read_description,
    write_failure_as_user_error,
)
from mamkpd_jax.config import Config, differences
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import Skeleton
from mamkpd_jax.training.state import TrainState

# Fields that may not change when a run resumes.
_SAME_RUN = (
    "data.workers",  # grain's state can't move between its loaders
    "data.ap10k_fold",
    "data.train_annotations",
    "data.train_images",
    "data.synthetic_train_images",
    "optim.optimizer",
    "optim.batch_size",
    "optim.ema_decay",
    "seed",
)
_ANY_MODEL = ("model.scan", "model.dtype", "model.drop_path", "model.remat_stages")


class Checkpointer:
    """Saves and restores the training state, the position in the data, the config and the skeleton, below `workdir`.

    The newest states are in `checkpoints`, the one with the best evaluation in `best`. Saving is asynchronous and
    atomic: orbax renames a checkpoint into place once it is complete.

    Raises:
        UserError: the folder can't be written. Each method raises it too, if a checkpoint could not be written.
    """

    def __init__(self, workdir: Path, config: Config, skeleton: Skeleton, before_save: Callable[[], None]):
        """`before_save` runs before each save to `checkpoints`, and prevents the save if it raises."""
        self._before_save = before_save
        self._folder = workdir.absolute()  # not resolved: a path below /proc/PID/root would become another file
        self._config, self._skeleton = config, skeleton
        with self._write_failures():
            self._latest = self._manager(LATEST, max_to_keep=config.keep_checkpoints)
            # Without best_fn orbax drops the metrics.
            self._best = self._manager(BEST, max_to_keep=1, best_fn=lambda metrics: metrics["value"])
        best_step = self._best.latest_step()
        self._best_value = -float("inf")
        if best_step is not None:
            self._best_value = self._best.metrics(best_step)["value"]  # type: ignore[index]

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        return self._latest.latest_step()

    def maybe_save(self, step: int, state: TrainState, data: grain.DatasetIterator, *, force: bool = False) -> None:
        """Saves at every multiple of `config.checkpoint_every_steps`, or if `force`; never the same step twice."""
        with self._write_failures():
            self._latest.check_for_errors()
            due = force or step % self._config.checkpoint_every_steps == 0
            if due and step and step != self.latest_step:
                self._before_save()
                check_space(self._folder, state)
                self._latest.save(step, args=self._items(step, state, data), force=True)

    def save_best(self, step: int, state: TrainState, data: grain.DatasetIterator, name: str, value: float) -> None:
        """Saves a step to `best` if its value is higher than all before; `name` is the metric's, for the log."""
        if not value > self._best_value:
            return
        logging.info("step %d has the best %s so far, %.3f; saving it to %s", step, name, value, self._folder / BEST)
        self._best_value = value
        with self._write_failures():
            check_space(self._folder, state)
            self._best.save(
                step, args=self._items(step, state, data), metrics={"name": name, "value": value}, force=True
            )

    def restore(self, state: TrainState, data: grain.DatasetIterator) -> TrainState:
        """The newest checkpoint's state, on the devices of `state`; also sets `data` to the saved position.

        Raises:
            UserError: the checkpoint is damaged, or belongs to another model or run.
        """
        step = self.latest_step
        assert step is not None, "there is a checkpoint"
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _as_tree(state))
        with damage_as_user_error(self._folder / LATEST / str(step)):
            self._check_same_run(step)
            restored = self._latest.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract), data=grain.checkpoint.CheckpointRestore(data)
                ),
            )
        return TrainState(**restored["state"])

    def close(self) -> None:
        """Waits until the last save is on disk."""
        with self._write_failures():
            self._latest.close()
            self._best.close()

    def _manager(self, name: str, **options: Any) -> ocp.CheckpointManager:
        kept = ocp.CheckpointManagerOptions(cleanup_tmp_directories=True, **options)
        return ocp.CheckpointManager(self._folder / name, options=kept)

    def _items(self, step: int, state: TrainState, data: grain.DatasetIterator) -> ocp.args.Composite:
        return ocp.args.Composite(
            state=ocp.args.StandardSave(_as_tree(state)),
            data=grain.checkpoint.CheckpointSave(data),
            **description_items(Description(config=self._config, skeleton=self._skeleton, step=step)),
        )

    def _check_same_run(self, step: int) -> None:
        folder = self._folder / LATEST / str(step)
        saved = read_description(self._latest, step)
        changed = differences(saved.config, without_scan(self._config))
        check_same_model(f"checkpoint {folder}", changed, *_SAME_RUN)
        check_same_joints(f"checkpoint {folder}", saved.skeleton, self._skeleton)
        if changed:
            logging.info("since step %d: %s", step, _listed(changed))
        if not (folder / "data").exists():
            raise UserError(
                f"checkpoint {folder} has only converted weights and can't be resumed; evaluate it, or start from it "
                "in another --workdir with --config.init_from"
            )
        n, now = len(list((folder / "data").glob("process_*"))), jax.process_count()
        if n != now:
            raise UserError(
                f"checkpoint {folder} has the positions in the data of {n} processes, but this run has {now}; start it "
                f"with {n} processes"
            )

    def _write_failures(self) -> contextlib.AbstractContextManager[None]:
        def message(reason: str) -> str:
            steps = sorted(int(path.name) for path in (self._folder / LATEST).glob("*") if path.name.isdigit())
            good = f"the last good checkpoint, of step {steps[-1]}, is intact" if steps else "there is none yet"
            return (
                f"a checkpoint below {self._folder} can't be written ({reason}); {good}; free space or give another "
                "--workdir, and start the same command again"
            )

        return write_failure_as_user_error(message)


def check_same_joints(what: str, was: Skeleton, now: Skeleton) -> None:
    """Raises UserError if `what` finds other joints than the data set labels."""
    if was.joints != now.joints:
        raise UserError(
            f"{what} finds the joints {', '.join(was.joints)}, and the data set labels {', '.join(now.joints)}; give "
            "the data set that it was trained on"
        )


def check_same_model(what: str, changed: dict[str, str], *also: str) -> None:
    """Raises UserError if a changed field makes `what` another model than this run's, or is in `also`."""
    wrong = {
        name: change
        for name, change in changed.items()
        if (name.startswith(("model.", "head.")) and name not in _ANY_MODEL) or name in ("data.dataset", *also)
    }
    if wrong:
        raise UserError(
            f"{what} belongs to another run, whose config differs in {_listed(wrong)}; give the config that it was "
            "trained with, or another --workdir"
        )


def _listed(changed: dict[str, str]) -> str:
    return ", ".join(f"config.{name}: {change}" for name, change in changed.items())


def _as_tree(state: TrainState) -> dict[str, Any]:
    values = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in values.items() if value is not None}
