"""Sums over the channels of a program, many at once.

The sum of one vector takes five exchanges between the threads of a warp, each of one value a thread. Here two vectors
share each exchange; then half of the threads continue with one vector, and half with the other. So sixteen sums take as
many exchanges as three separate ones.

This relies on Triton's layout for a vector of contiguous loads: of 64 elements, thread t has 2 t and 2 t + 1. The code
does not read the thread's number, because Triton may recompute it for a vector in another layout.
"""

import jax.numpy as jnp
from jax import Array

from mamkpd_jax.ops.selective_scan.arithmetic import inline_asm

_WARP = 32


class WarpSums:
    """The sums of 2 to 32 fp32 vectors of 32 or 64 elements each, which `add` takes one by one."""

    def __init__(self, size: int, interpret: bool):
        self._size, self._interpret = size, interpret
        self._vectors: list[Array] = []
        self._parts: list[tuple[int, Array]] = []  # a level, and sums of 2^level vectors in each thread
        self._element = jnp.arange(size, dtype=jnp.int32)

    def add(self, vector: Array) -> None:
        """Takes the next vector to sum."""
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
        """Adds a part with its level, and carries like a binary counter."""
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
        """For each thread, `x` of the thread whose elements' places differ in the bit of this level."""
        bit = 2**level * _WARP // self._size
        return inline_asm(f"shfl.sync.bfly.b32 $0, $1, {bit}, 31, -1;", "=f,f", jnp.float32, x)
