"""One program's view of the arrays that both kernels read."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from mamkpd_jax.ops.selective_scan.arithmetic import LOG2E, Arithmetic
from mamkpd_jax.ops.selective_scan.tiling import Scan
from mamkpd_jax.ops.selective_scan.walk import Place, bounded


def token_spec(scan: Scan, size: int, *, directions: bool = True) -> pl.BlockSpec:
    """The block spec of an array with `size` entries a token, [k, b, l size], or without `directions` [b, l size].

    The grid is (channel block, segment, direction, batch). Tokens and entries share one axis: then no product of a
    token's place is between the constants and the address.
    """
    if directions:
        return pl.BlockSpec((1, 1, scan.length * size), lambda i, s, k, b: (*direction_and_batch(scan, k, b), 0))
    return pl.BlockSpec((1, scan.length * size), lambda i, s, k, b: (bounded(b, scan.batch), 0))


def direction_and_batch(scan: Scan, k: Array, b: Array) -> tuple[Array, Array]:
    """The first two block indices of an array [k, b, ..]."""
    return bounded(k, len(scan.directions)), bounded(b, scan.batch)


def operand_specs(scan: Scan, proj: Array) -> list[pl.BlockSpec]:
    """The block specs of `Operands`' arrays."""
    by_channel = pl.BlockSpec((1, scan.channels), lambda i, s, k, b: (k, i))
    specs = [
        token_spec(scan, scan.d, directions=False),
        token_spec(scan, proj.shape[1] // scan.length, directions=False),
        pl.BlockSpec((1, scan.n, scan.channels), lambda i, s, k, b: (k, 0, i)),
        by_channel,
    ]
    if not scan.rank:
        return [*specs, token_spec(scan, scan.d)]
    return [*specs, pl.BlockSpec((1, scan.rank, scan.channels), lambda i, s, k, b: (k, 0, i)), by_channel]


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
    """A token as loaded: its input, the columns of its row of proj, and delta if it is given."""

    u: Array
    proj: list[Array]
    delta: Array | None


class Operands:
    """The inputs of one program, which computes one batch element, direction, segment and block of channels.

    Arrays: u [b, l d], proj [b, l k (rank + 2 n)] after `pack`, A [k, n, d], the skip's D [k, d], delta [k, b, l d],
    and those of `segments.ends`. If the kernel makes delta, log(-A) replaces A, and delta's weight [k, rank, d] and
    bias [k, d] replace delta. A decay is 2^(delta A), and delta is log2(1 + 2^(low rank @ weight + bias)).
    """

    def __init__(self, scan: Scan, u, proj, A, D, *refs):
        self.scan, self.math = scan, Arithmetic(scan.interpret)
        # A mask costs instructions, so there is one only if the last block of channels is not full.
        self._channel = bounded(pl.program_id(0), scan.blocks) * scan.channels + jnp.arange(scan.channels)
        self._mask = self._channel < scan.d if scan.d % scan.channels else None
        self._u, self._proj = u, proj
        self._columns = proj.shape[1] // scan.length // len(scan.directions)
        self._first_column = bounded(pl.program_id(2), len(scan.directions)) * self._columns
        self._precise = proj.dtype == jnp.float32
        self.A, self.D = [self.vector(A, 0, i) for i in range(scan.n)], self.vector(D, 0)
        if scan.rank:
            self.A, self.D = [-self.math.exp2(A_log * LOG2E) for A_log in self.A], self.D * LOG2E
            weight, bias, *self.ends = refs
            self.weight = [self.vector(weight, 0, i) * LOG2E for i in range(scan.rank)]
            self._bias = self.vector(bias, 0) * LOG2E
        else:
            self._delta, *self.ends = refs

    def vector(self, ref, *index) -> Array:
        """The program's channels of a row of an array."""
        other = None if self._mask is None else 0.0
        return plgpu.load(_row(ref, index), mask=self._mask, other=other)

    def token(self, ref, *index) -> Array:
        """The program's channels of a token, whose place is the last index."""
        other = None if self._mask is None else 0.0
        return plgpu.load(self._token(ref, index), mask=self._mask, other=other)

    def store_token(self, ref, value: Array, *index) -> None:
        """Writes the program's channels of a token, whose place is the last index."""
        plgpu.store(self._token(ref, index), value.astype(ref.dtype), mask=self._mask)

    def _token(self, ref, index: tuple):
        *first, place = index
        return ref.at[(*(jnp.int32(i) for i in first), place.times(self.scan.d) + self._channel)]

    def store(self, ref, value: Array, *index) -> None:
        """Writes the program's channels of a row of an array."""
        plgpu.store(_row(ref, index), value.astype(ref.dtype), mask=self._mask)

    def load(self, place: Place) -> Token:
        """The token at a place."""
        delta = None if self.scan.rank else self.token(self._delta, 0, 0, place)
        row = place.times(self._columns * len(self.scan.directions)) + self._first_column
        return Token(self.token(self._u, 0, place), [self._proj[0, row + j] for j in range(self._columns)], delta)

    def step(self, token: Token) -> tuple[Array, list[Array], list[Array], Array | None]:
        """delta, B, C, and the derivative of delta's softplus, None if delta is given."""
        rank, n = self.scan.rank, self.scan.n
        proj = [p for word in token.proj for p in _unpack(word)]
        B, C = proj[rank : rank + n], proj[rank + n : rank + 2 * n]
        if token.delta is not None:
            return token.delta.astype(jnp.float32), B, C, None
        # A large bias is rounded only once if it is added last; adding it first saves an instruction.
        low_rank = proj[:rank]
        z = self.math.dot(low_rank, self.weight, None if self._precise else self._bias)
        z = z + self._bias if self._precise else z
        delta, gate = self.math.softplus(z, self._precise)
        return delta, B, C, gate

    def decays(self, delta: Array) -> list[Array]:
        """The decay of each state."""
        return [self.math.exp2(delta * A) for A in self.A]


def _row(ref, index: tuple):
    """A row of an array, for all channels of the block. A masked access takes arrays as indices, but no int."""
    return ref.at[(*(jnp.int32(i) for i in index), slice(None))]
