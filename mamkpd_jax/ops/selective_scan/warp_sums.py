"""Sums over the channels of a program, many at once.

A sum of one vector takes five exchanges between the threads of a warp, each of a value a thread. Here two vectors share
each exchange, after which half of the threads go on with the one and half with the other, so that sixteen sums take as
many exchanges as three would.
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
        self._slot = jnp.arange(size) if interpret else _slot(size)

    def add(self, vector: Array) -> None:
        self._vectors.append(vector)
        if not self._interpret:
            self._join(0, vector)

    def result(self) -> tuple[Array, Array]:
        """A vector of the sums, and which of them each of its elements is, in the order of `add`."""
        if self._interpret:
            which = self._slot % len(self._vectors)
            return jnp.stack([jnp.sum(x) for x in self._vectors])[which], which
        while len(self._parts) > 1:
            self._join(0, jnp.zeros((self._size,), jnp.float32))
        ((level, total),) = self._parts
        for further in range(level, self._size.bit_length() - 1):
            total = total + self._other(further, total)
        return total, self._slot & (2**level - 1)

    def _join(self, level: int, vector: Array) -> None:
        """Adds what has a level, as a binary counter carries."""
        if not self._parts or self._parts[-1][0] != level:
            self._parts.append((level, vector))
            return
        _, before = self._parts.pop()
        if 2**level * _WARP < self._size:  # each thread adds its two elements
            both = inline_asm("add.f32 $0, $2, $3; add.f32 $1, $4, $5;", "=&f,=&f,f,f,f,f", jnp.float32, before, vector)
        else:
            upper = (self._slot & 2**level) != 0
            both = jnp.where(upper, vector, before) + self._other(level, jnp.where(upper, before, vector))
        self._join(level + 1, both)

    def _other(self, level: int, x: Array) -> Array:
        """The values of the threads whose slots differ in one bit."""
        bit = 2**level * _WARP // self._size
        return inline_asm(f"shfl.sync.bfly.b32 $0, $1, {bit}, 31, -1;", "=f,f", jnp.float32, x)


def _slot(size: int) -> Array:
    """A number of each element: the bits of its thread's, and below them its place in the thread."""
    unused = jnp.zeros((size,), jnp.int32)
    if size == _WARP:
        return inline_asm("mov.u32 $0, %laneid;", "=r,r", jnp.int32, unused)
    return inline_asm("mov.u32 $0, %laneid; shl.b32 $0, $0, 1; or.b32 $1, $0, 1;", "=&r,=&r,r,r", jnp.int32, unused)
