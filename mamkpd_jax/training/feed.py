"""Puts batches on the devices, and measures how long the devices wait for them."""

import time
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from mamkpd_jax.training.step import Batch, shard_batch


class Feed:
    """Puts batches on the devices. `waited_s` is the time that the devices have been idle, in seconds."""

    def __init__(
        self,
        batches: Iterator[Mapping[str, np.ndarray]],
        mesh: Mesh,
        check: Callable[[Mapping[str, np.ndarray]], None],
    ):
        """`check` is called with each batch as loaded, and may raise."""
        self._batches = batches
        self._check = check
        self._mesh = mesh
        self.waited_s = 0.0

    def __call__(self, running: Mapping[str, jax.Array]) -> tuple[Mapping[str, np.ndarray], Batch]:
        """The next batch, as loaded and on the devices.

        Args:
            running: the outputs of the previous step; once they are ready, the devices are idle.
        """
        start = time.monotonic()
        batch = next(self._batches)
        if running and all(value.is_ready() for value in running.values()):  # type: ignore[attr-defined]
            self.waited_s += time.monotonic() - start
        self._check(batch)
        return batch, shard_batch(batch, self._mesh)
