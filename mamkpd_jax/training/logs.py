"""A run's progress bar, log lines, TensorBoard events and metrics.jsonl."""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import UInt8
from tqdm import tqdm

from mamkpd_jax import processes
from mamkpd_jax.config import Config
from mamkpd_jax.environment import environment, peak_memory_bytes
from mamkpd_jax.files import atomic_write, write_json
from mamkpd_jax.training.optimizer import learning_rate
from mamkpd_jax.training.schedule import Schedule
from mamkpd_jax.training.tensorboard import TensorBoard

METRICS, CONFIG, ENVIRONMENT = "metrics.jsonl", "config.json", "environment.json"
_STARVED_SHARE, _STARVED_S = 0.2, 2.0  # share of the time, over at least this many seconds


class Logger:
    """Shows progress, and writes TensorBoard logs and `metrics.jsonl`, one object a line, below `workdir`.

    Values are fetched from the device only every `config.log_every_steps` steps. Only process 0 logs.
    """

    def __init__(self, workdir: Path, config: Config, schedule: Schedule, first_step: int):
        """Writes the run's config and environment, and drops what an earlier start logged after `first_step`."""
        self._silent = not processes.is_process_0()
        if self._silent:
            return
        write_json(workdir / CONFIG, dataclasses.asdict(config))
        write_json(workdir / ENVIRONMENT, environment())
        self._tensorboard = TensorBoard(workdir / "tensorboard", first_step)
        # In a file, log lines replace the bar.
        self._on_screen = sys.stderr.isatty()
        self._bar = tqdm(
            total=schedule.last_step, initial=first_step, unit="step", dynamic_ncols=True, disable=not self._on_screen
        )
        self._last_step = schedule.last_step
        self._config = config
        self._steps_per_epoch = schedule.steps_per_epoch
        self._learning_rate = learning_rate(config.optim, schedule.steps_per_epoch)
        earlier_s = _drop_after(workdir / METRICS, first_step)
        self._metrics = (workdir / METRICS).open("a", encoding="utf-8")
        self._start_s = time.monotonic() - earlier_s
        self._since = (first_step, time.monotonic(), 0.0)
        self._warned_starved = False

    def log_step(self, step: int, metrics: Mapping[str, jax.Array], waited_s: float) -> None:
        """Advances the bar, and every `config.log_every_steps` steps logs the values of this step.

        Args:
            waited_s: how long the devices have waited for data since the run started, in seconds.
        """
        if self._silent:
            return
        self._bar.update()
        if step % self._config.log_every_steps:
            return
        values = {name: float(value) for name, value in metrics.items()}
        since_step, since_s, since_waited_s = self._since
        self._since = (step, time.monotonic(), waited_s)
        seconds = self._since[1] - since_s
        values["learning_rate"] = np.asarray(self._learning_rate(step - 1)).item()
        images = (step - since_step) * self._config.optim.batch_size
        values["images_per_s"] = images / seconds
        values["data_wait"] = (waited_s - since_waited_s) / seconds
        values["memory_gib"] = peak_memory_bytes() / 2**30
        self._record(step, {f"train/{name}": value for name, value in values.items()})
        line = (
            "epoch {epoch:.1f}, loss {loss:.3g}, lr {learning_rate:.2g}, gradient {grad_norm:.2g}, "
            "{images_per_s:.3g} images/s, data wait {data_wait:.0%}, {memory_gib:.1f} GiB"
        ).format(epoch=step / self._steps_per_epoch, **values)
        if self._on_screen:
            self._bar.set_postfix_str(line, refresh=False)
        else:
            left_s = (self._last_step - step) * self._config.optim.batch_size / values["images_per_s"]
            left = tqdm.format_interval(left_s)
            logging.info("step %d of %d, %s, %s left", step, self._last_step, line, left)
        if seconds > _STARVED_S and values["data_wait"] > _STARVED_SHARE:
            self._warn_starved(values["data_wait"])

    def log_evaluation(self, step: int, metrics: dict[str, float], picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Logs an evaluation's values and picture; the next throughput excludes the evaluation's time."""
        if self._silent:
            return
        self._record(step, {f"eval/{name}": value for name, value in metrics.items()})
        self._tensorboard.picture(step, "eval/labelled and predicted poses", picture)
        logging.info("step %d: %s %.3f", step, *next(iter(metrics.items())))
        self._since = (step, time.monotonic(), self._since[2])

    def close(self) -> None:
        """Closes the bar and the log files."""
        if not self._silent:
            self._bar.close()
            self._tensorboard.close()
            with contextlib.suppress(OSError):
                self._metrics.close()

    def _record(self, step: int, values: dict[str, float]) -> None:
        self._tensorboard.scalars(step, values)
        about: dict[str, Any] = {"step": step, "epoch": step / self._steps_per_epoch}
        about["time_s"] = time.monotonic() - self._start_s
        # A log that can't be written ends no run: if the disk is full, the next checkpoint reports it.
        with contextlib.suppress(OSError):
            self._metrics.write(json.dumps(about | values) + "\n")
            self._metrics.flush()

    def _warn_starved(self, share: float) -> None:
        if not self._warned_starved:
            self._warned_starved = True
            logging.warning(
                "the devices waited for data %.0f%% of the time: the loader does not keep up; raise "
                "config.data.workers=%d, or put the data set on a faster disk",
                100 * share,
                self._config.data.workers,
            )


def _drop_after(file: Path, step: int) -> float:
    """Removes the lines of later steps, which run again; returns the training time until `step`, in seconds."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    kept = []
    for line in lines:
        try:
            values = json.loads(line)
        except ValueError:
            break  # the run was killed while it wrote this line
        if values["step"] > step:
            break
        kept.append(values)
    with atomic_write(file) as temporary:
        temporary.write_text("".join(json.dumps(values) + "\n" for values in kept), encoding="utf-8")
    return kept[-1]["time_s"] if kept else 0.0
