"""The order in which a kernel's program visits the tokens of a map."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl


class Place(NamedTuple):
    """The place of one or more tokens in the map: their chunk's lowest place, and the distance from it."""

    lowest: Array
    distance: int | Array

    def times(self, size: int) -> Array:
        """The token's start in an array of `size` entries a token. It takes one product for each chunk."""
        return self.lowest * size + self.distance * size


class Walk:
    """One of SS2D's four directions over an h x w map in row-major storage, in chunks of tokens of one line.

    All strides are static, so that a chunk needs one address for each array, and constant offsets from it.
    """

    def __init__(self, direction: int, h: int, w: int, chunk: int):
        lines, length, between, within = (w, h, 1, w) if direction % 2 else (h, w, w, 1)
        # Lines that continue each other at the same stride are one line, which saves the division in `_lowest`.
        if length == 1 or lines == 1 or between == length * within:
            lines, length, between, within = 1, h * w, 0, 1
        self._reverse = direction >= 2
        self._last_token = h * w - 1
        self._chunk, self._chunks_a_line = chunk, length // chunk
        self._between, self._within = between, within
        self.n_chunks = lines * self._chunks_a_line

    def tokens(self, c: Array) -> list[Place]:
        """Places of the tokens of the c-th chunk, in the order of the walk."""
        lowest = self._lowest(c)
        return [Place(lowest, self._distance(step)) for step in range(self._chunk)]

    def place(self, c: Array, step: Array) -> Place:
        """The place of the step-th token of the c-th chunk."""
        return Place(self._lowest(c), self._distance(step))

    def _distance(self, step: int | Array) -> int | Array:
        return (self._chunk - 1 - step if self._reverse else step) * self._within

    def _lowest(self, c: Array) -> Array:
        line = lax.div(c, jnp.asarray(self._chunks_a_line, c.dtype)) if self._between else 0
        lowest = line * self._between + (c - line * self._chunks_a_line) * (self._chunk * self._within)
        if self._reverse:
            lowest = self._last_token - (self._chunk - 1) * self._within - lowest
        return bounded(lowest, self._last_token + 1)


def by_direction(directions: Sequence[int], run: Callable[[int], None]) -> None:
    """Runs `run(directions[i])`, for this program's index i on axis 2. The direction is static in `run`."""
    program = pl.program_id(2)

    def branch(first: int) -> None:
        if first + 1 == len(directions):
            run(directions[first])
        else:
            lax.cond(program == first, lambda: run(directions[first]), lambda: branch(first + 1))

    branch(0)


def bounded(index: Array, size: int) -> Array:
    """`index`, which is below `size`, unchanged. Its bound lets the compiler fold constants into addresses."""
    return jnp.bitwise_and(index, 2 ** (size - 1).bit_length() - 1)
