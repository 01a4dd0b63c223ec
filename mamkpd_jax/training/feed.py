"""Batches on their way to the devices, and how long the devices waited for them."""

import time
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from mamkpd_jax.training.step import Batch, shard_batch


class Feed:
    """Takes batches and puts them on the devices. `waited_s` counts the seconds in which these had nothing to do."""

    def __init__(
        self,
        batches: Iterator[Mapping[str, np.ndarray]],
        mesh: Mesh,
        check: Callable[[Mapping[str, np.ndarray]], None],
    ):
        """`check` looks at each batch as it was loaded, and may raise."""
        self._batches = batches
        self._check = check
        self._mesh = mesh
        self.waited_s = 0.0

    def __call__(self, running: Mapping[str, jax.Array]) -> tuple[Mapping[str, np.ndarray], Batch]:
        """The next batch, as it was loaded and as the devices have it.

        Args:
            running: what the step before gives; once it is there, the devices wait.
        """
        start = time.monotonic()
        batch = next(self._batches)
        if running and all(value.is_ready() for value in running.values()):  # type: ignore[attr-defined]
            self.waited_s += time.monotonic() - start
        self._check(batch)
        return batch, shard_batch(batch, self._mesh)
