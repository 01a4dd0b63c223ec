"""Stops a run on a non-finite loss or gradient, and names the batch."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging

from mamkpd_jax.config import OptimConfig
from mamkpd_jax.errors import UserError


class NonFiniteGuard:
    """Stops the run on a non-finite loss or gradient, or counts the skipped steps.

    Such a step changes no parameters, so each step is checked one step late: the devices then need not wait.
    """

    def __init__(self, config: OptimConfig):
        self._config = config
        self._pending: tuple[int, np.ndarray, Mapping[str, jax.Array]] | None = None
        self._skipped = 0
        self._skipped_in_a_row = 0

    def watch(self, step: int, batch: Mapping[str, np.ndarray], metrics: Mapping[str, jax.Array]) -> None:
        """Takes the batch and metrics of the step that was just started, and checks the previous step.

        Raises:
            UserError: the previous step is not finite, and the config skips none, or too many were skipped in a row.
        """
        self.flush()
        self._pending = step, batch["annotation_id"], metrics

    def flush(self) -> None:
        """Checks the step that is still pending.

        Raises:
            UserError: as `watch` does.
        """
        if self._pending is None:
            return
        (step, annotation_ids, metrics), self._pending = self._pending, None
        values: dict[str, Any] = {name: float(value) for name, value in metrics.items()}
        if all(math.isfinite(value) for value in values.values()):
            self._skipped_in_a_row = 0
            return
        self._skipped += 1
        self._skipped_in_a_row += 1
        found = (
            f"step {step}: the loss is {values['loss']}, the gradient's norm {values['grad_norm']}; "
            f"its annotations are {', '.join(map(str, annotation_ids))}"
        )
        if self._config.on_nonfinite == "stop":
            raise UserError(
                f"{found}. The step changed nothing. Check these annotations, lower config.optim.learning_rate, or set "
                "--config.optim.on_nonfinite=skip; the same command resumes from the newest checkpoint"
            )
        if self._skipped_in_a_row > self._config.max_skipped:
            raise UserError(
                f"{found}. {self._skipped_in_a_row} steps in a row are not finite, more than config.optim.max_skipped="
                f"{self._config.max_skipped}; lower config.optim.learning_rate. The same command resumes from the "
                "newest checkpoint"
            )
        logging.warning("%s. The step is skipped, %d so far", found, self._skipped)
