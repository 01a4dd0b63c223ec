"""Sums over the channels of a program, many at once.

A sum of one vector takes five exchanges between the threads of a warp, each of a value a thread. Here two vectors share
each exchange, after which half of the threads go on with the one and half with the other, so that sixteen sums take as
many exchanges as three would.

This relies on how Triton spreads a vector of contiguous loads: of 64 elements, thread t has 2 t and 2 t + 1. The code
does not read the thread's number: Triton may compute it again where a vector is spread in another way.
"""

import jax.numpy as jnp
from jax import Array

from mamkpd_jax.ops.selective_scan.arithmetic import inline_asm

_WARP = 32


class WarpSums:
    """The sums of 2 to 32 fp32 vectors of 32 or 64 elements, which are added one by one."""

    def __init__(self, size: int, interpret: bool):
        self._size, self._interpret = size, interpret
        self._vectors: list[Array] = []
        self._parts: list[tuple[int, Array]] = []  # of which each thread has a sum of 2^level vectors, and that level
        self._element = jnp.arange(size, dtype=jnp.int32)

    def add(self, vector: Array) -> None:
        self._vectors.append(vector)
        if not self._interpret:
            self._join(0, vector)

    def result(self) -> Array:
        """A vector whose first elements are the sums, in the order of `add`."""
        if self._interpret:
            return jnp.stack([jnp.sum(x) for x in self._vectors])
        while len(self._parts) > 1:
            self._join(0, jnp.zeros((self._size,), jnp.float32))
        ((level, total),) = self._parts
        for further in range(level, self._size.bit_length() - 1):
            total = total + self._other(further, total)
        return total

    def _join(self, level: int, vector: Array) -> None:
        """Adds what has a level, as a binary counter carries."""
        if not self._parts or self._parts[-1][0] != level:
            self._parts.append((level, vector))
            return
        _, before = self._parts.pop()
        if 2**level * _WARP < self._size:  # each thread adds its two elements
            both = inline_asm("add.f32 $0, $2, $3; add.f32 $1, $4, $5;", "=&f,=&f,f,f,f,f", jnp.float32, before, vector)
        else:
            upper = (self._element & 2**level) != 0
            both = jnp.where(upper, vector, before) + self._other(level, jnp.where(upper, before, vector))
        self._join(level + 1, both)

    def _other(self, level: int, x: Array) -> Array:
        """The values of the threads whose elements differ in one bit of their place in the vector."""
        bit = 2**level * _WARP // self._size
        return inline_asm(f"shfl.sync.bfly.b32 $0, $1, {bit}, 31, -1;", "=f,f", jnp.float32, x)
