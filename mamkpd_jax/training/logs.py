"""What a person sees of a run: progress bar, lines of figures, TensorBoard."""

import sys
import time
from pathlib import Path

import jax
import numpy as np
from absl import logging
from tensorboardX import SummaryWriter
from tqdm import tqdm

from mamkpd_jax.config import Config
from mamkpd_jax.training.optimizer import learning_rate


class Logger:
    """Shows progress and writes TensorBoard scalars below `workdir`/tensorboard.

    Losses are fetched from the device only every `config.log_every_steps` steps, so that the host runs ahead.
    """

    def __init__(self, workdir: Path, config: Config, first_step: int, last_step: int, steps_per_epoch: int):
        self._writer = SummaryWriter(str(workdir / "tensorboard"), purge_step=first_step + 1)
        # A file is no screen: there a line takes the bar's place.
        self._on_screen = sys.stderr.isatty()
        self._bar = tqdm(
            total=last_step, initial=first_step, unit="step", dynamic_ncols=True, disable=not self._on_screen
        )
        self._last_step = last_step
        self._config = config
        self._steps_per_epoch = steps_per_epoch
        self._learning_rate = learning_rate(config.optim, steps_per_epoch)
        self._since = (first_step, time.monotonic())

    def log_step(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Advances the bar; every `log_every_steps` steps writes the figures of this step."""
        self._bar.update()
        if step % self._config.log_every_steps:
            return
        values = {name: float(value) for name, value in metrics.items()}
        since_step, since_s = self._since
        self._since = (step, time.monotonic())
        images = (step - since_step) * self._config.optim.batch_size
        values["images_per_s"] = images / (self._since[1] - since_s)
        values["learning_rate"] = np.asarray(self._learning_rate(step - 1)).item()
        for name, value in values.items():
            self._writer.add_scalar(f"train/{name}", value, step)
        figures = (
            f"epoch {step / self._steps_per_epoch:.1f}, loss {values['loss']:.3g}, "
            f"{values['images_per_s']:.0f} images/s"
        )
        if self._on_screen:
            self._bar.set_postfix_str(figures, refresh=False)
        else:
            left_s = (self._last_step - step) * self._config.optim.batch_size / values["images_per_s"]
            left = tqdm.format_interval(left_s)
            logging.info("step %d of %d, %s, %s left", step, self._last_step, figures, left)

    def log_evaluation(self, step: int, metrics: dict[str, float]) -> None:
        """Writes an evaluation's figures, and its time does not count as training time."""
        for name, value in metrics.items():
            self._writer.add_scalar(f"eval/{name}", value, step)
        logging.info("step %d: %s %.3f", step, *next(iter(metrics.items())))
        self._since = (step, time.monotonic())

    def close(self) -> None:
        """Writes what is pending."""
        self._bar.close()
        self._writer.close()
