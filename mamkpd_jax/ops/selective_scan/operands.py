"""What both kernels read: one program's view of the arrays."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from mamkpd_jax.ops.selective_scan import base2
from mamkpd_jax.ops.selective_scan.tiling import Scan


def operand_specs(scan: Scan, columns: int) -> list[pl.BlockSpec]:
    """Of `Operands`' arrays, proj with so many columns, for a grid of (channel block, segment, direction, batch)."""
    specs = [
        pl.BlockSpec((1, scan.length, scan.channels), lambda i, s, k, b: (b, 0, i)),
        pl.BlockSpec((1, scan.length, 1, columns), lambda i, s, k, b: (b, 0, k, 0)),
        pl.BlockSpec((1, scan.n, scan.channels), lambda i, s, k, b: (k, 0, i)),
    ]
    if not scan.rank:
        return [*specs, pl.BlockSpec((1, 1, scan.length, scan.channels), lambda i, s, k, b: (k, b, 0, i))]
    return [
        *specs,
        pl.BlockSpec((1, scan.rank, scan.channels), lambda i, s, k, b: (k, 0, i)),
        pl.BlockSpec((1, scan.channels), lambda i, s, k, b: (k, i)),
    ]


def pack(proj: Array) -> Array:
    """Pairs of bf16 columns in one int32, which halves the loads of scalars; other dtypes stay as they are."""
    if proj.dtype != jnp.bfloat16:
        return proj
    proj = jnp.pad(proj, ((0, 0),) * (proj.ndim - 1) + ((0, proj.shape[-1] % 2),))
    return lax.bitcast_convert_type(proj.reshape(*proj.shape[:-1], -1, 2), jnp.int32)


def _unpack(word: Array) -> list[Array]:
    """The fp32 scalars in a column of a packed array."""
    if word.dtype != jnp.int32:
        return [word.astype(jnp.float32)]
    # A bf16 is the upper half of the fp32 of the same value.
    halves = jnp.left_shift(word, 16), jnp.bitwise_and(word, jnp.int32(-(2**16)))
    return [lax.bitcast_convert_type(half, jnp.float32) for half in halves]


class Token(NamedTuple):
    """A token as loaded: its input, the columns of its row of proj, and delta where it is given."""

    u: Array
    proj: list[Array]
    delta: Array | None


class Operands:
    """The inputs of one program, which is one batch element, direction, segment and block of channels.

    Arrays: u [b, l, d], proj [b, l, k, rank + 2 n] after `pack`, A [k, n, d], either delta [k, b, l, d] or delta's
    weight [k, rank, d] and bias [k, d], and those of `segments.ends`. A decay is 2^(delta A), delta log2(1 + 2^(low
    rank @ weight + bias)).
    """

    def __init__(self, scan: Scan, u, proj, A, *refs):
        self.scan = scan
        # A mask costs instructions, so there is one only where the last block of channels is not full.
        channel = pl.program_id(0) * scan.channels + jnp.arange(scan.channels)
        self._mask = channel < scan.d if scan.d % scan.channels else None
        self._u, self._proj = u, proj
        self._precise = proj.dtype == jnp.float32
        self.A = [self.vector(A, 0, i) for i in range(scan.n)]
        if scan.rank:
            weight, bias, *self.ends = refs
            self.weight = [self.vector(weight, 0, i) for i in range(scan.rank)]
            self._bias = self.vector(bias, 0)
        else:
            self._delta, *self.ends = refs

    def vector(self, ref, *index) -> Array:
        """The program's channels of a row of an array."""
        other = None if self._mask is None else 0.0
        return plgpu.load(_row(ref, index), mask=self._mask, other=other)

    def store(self, ref, value: Array, *index) -> None:
        """Writes the program's channels of a row of an array."""
        plgpu.store(_row(ref, index), value.astype(ref.dtype), mask=self._mask)

    def load(self, t: Array) -> Token:
        delta = None if self.scan.rank else self.vector(self._delta, 0, 0, t)
        return Token(self.vector(self._u, 0, t), [self._proj[0, t, 0, j] for j in range(self._proj.shape[-1])], delta)

    def step(self, token: Token) -> tuple[Array, list[Array], list[Array], Array | None]:
        """delta, B, C, and the derivative of delta's softplus."""
        rank, n = self.scan.rank, self.scan.n
        proj = [p for word in token.proj for p in _unpack(word)]
        B, C = proj[rank : rank + n], proj[rank + n : rank + 2 * n]
        if token.delta is not None:
            return token.delta.astype(jnp.float32), B, C, None
        products = [p * weight for p, weight in zip(proj[:rank], self.weight, strict=True)]
        # A large bias that comes last is rounded once; one that comes first saves an instruction.
        terms = [*products, self._bias] if self._precise else [self._bias, *products]
        z = functools.reduce(jnp.add, terms)
        delta, gate = base2.softplus(z, self._precise, self.scan.interpret)
        return delta, B, C, gate

    def decays(self, delta: Array) -> list[Array]:
        """The decay of each state."""
        return [base2.exp2(delta * A, self.scan.interpret) for A in self.A]


def _row(ref, index: tuple):
    """A program's channels are the whole of its block. A masked access takes arrays as indices, and no int."""
    return ref.at[(*(jnp.int32(i) for i in index), slice(None))]
