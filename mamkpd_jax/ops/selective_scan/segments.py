"""Splits walks into segments, for batches too small to keep a GPU busy with one program for each walk.

A first kernel walks all segments in parallel, each from a state of zero, and writes its end state and the sum of its
deltas. Then each program of the main kernel computes its start state from those of all earlier segments, and walks its
segment again for the results. The backward kernel's segments start at the walk's end.

Choice: a segment is a run of chunks, not a line of the map, so that all directions and plain sequences can have as many
segments as are useful. A segment's decay is 2^(sum of its deltas A). If it underflows, the result, 0, is right.
"""

import functools
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from mamkpd_jax.ops.cross_scan import DIRECTIONS
from mamkpd_jax.ops.selective_scan.operands import Operands, Token, operand_specs
from mamkpd_jax.ops.selective_scan.tiling import Scan
from mamkpd_jax.ops.selective_scan.walk import by_direction

_State = tuple[Array, ...]
_Carry, _Loaded = TypeVar("_Carry"), TypeVar("_Loaded")


def ends(scan: Scan, *operands: Array, adjoint: bool = False) -> tuple[Array, ...]:
    """Each segment's end state [k, b, s, n, d] from a start of zero, and its sum of deltas [k, b, s, d].

    `operands` are those of `Operands`. If `adjoint`, dy replaces u, and the walk is reversed, for the gradient of the
    state. The result is empty for a walk in one segment.
    """
    if scan.segments == 1:
        return ()
    k, b = len(scan.directions), operands[0].shape[0]
    results = pl.pallas_call(
        functools.partial(_kernel, scan, adjoint),
        grid=(scan.blocks, scan.segments, k, b),
        in_specs=operand_specs(scan, operands[1]),
        out_specs=[
            pl.BlockSpec((1, 1, 1, scan.n, scan.channels), lambda i, s, k, b: (k, b, s, 0, i)),
            pl.BlockSpec((1, 1, 1, scan.channels), lambda i, s, k, b: (k, b, s, i)),
        ],
        out_shape=[
            jax.ShapeDtypeStruct((k, b, scan.segments, scan.n, scan.d), jnp.float32),
            jax.ShapeDtypeStruct((k, b, scan.segments, scan.d), jnp.float32),
        ],
        interpret=scan.interpret,
        compiler_params=plgpu.CompilerParams(num_warps=1, num_stages=1),
        name=f"selective_scan_{'adjoint_' if adjoint else ''}ends",
    )(*operands)
    return tuple(results)


def _kernel(scan: Scan, adjoint: bool, *refs) -> None:
    operands, (ends_ref, sums_ref) = Operands(scan, *refs[:-2]), refs[-2:]
    chunks, math = Chunks(scan), operands.math

    def run(direction: int) -> None:
        walk = scan.walk((direction + 2) % DIRECTIONS if adjoint else direction)

        def load(c: Array) -> list[Token]:
            return [operands.load(t) for t in walk.tokens(c)]

        def chunk(c: Array, tokens: list[Token], carry: tuple[_State, Array]) -> tuple[_State, Array]:
            state, total = carry
            for token in tokens:
                delta, B, C, _ = operands.step(token)
                decays, x = operands.decays(delta), token.u.astype(jnp.float32)
                if adjoint:
                    state = tuple(a * math.fma(x, c, g) for a, g, c in zip(decays, state, C, strict=True))
                else:
                    state = tuple(math.fma(a, h, delta * x * b) for a, h, b in zip(decays, state, B, strict=True))
                total = total + delta
            return state, total

        zero = jnp.zeros((scan.channels,), jnp.float32)
        state, total = chunks.fold(load, chunk, (zeros(scan), zero))
        for j, h in enumerate(state):
            operands.store(ends_ref, h, 0, 0, 0, j)
        operands.store(sums_ref, total, 0, 0, 0)

    by_direction(scan.directions, run)


class Chunks:
    """The chunks of a program's walk. Interpret mode requires that it is made outside of all branches."""

    def __init__(self, scan: Scan):
        self._prefetch = scan.prefetch
        self._first, self._end = jnp.int32(0), scan.n_chunks
        if scan.segment is not None:
            self._first = pl.program_id(1) * scan.segment
            self._end = jnp.minimum(self._first + scan.segment, scan.n_chunks)

    def fold(
        self, load: Callable[[Array], _Loaded], work: Callable[[Array, _Loaded, _Carry], _Carry], carry: _Carry
    ) -> _Carry:
        """The carry after `carry = work(c, load(c), carry)` for each chunk c.

        The compiler moves no load across a store. With `scan.prefetch`, each chunk is loaded before the work on the
        previous one.
        """
        if not self._prefetch:
            return lax.fori_loop(self._first, self._end, lambda c, carry: work(c, load(c), carry), carry)

        def chunk(c: Array, both: tuple[_Loaded, _Carry]) -> tuple[_Loaded, _Carry]:
            following = load(jnp.minimum(c + 1, self._end - 1))
            return following, work(c, *both)

        return lax.fori_loop(self._first, self._end, chunk, (load(self._first), carry))[1]


def ends_specs(scan: Scan) -> list[pl.BlockSpec]:
    """The block specs of the arrays of `ends`."""
    if scan.segments == 1:
        return []
    return [
        pl.BlockSpec((1, 1, scan.segments, scan.n, scan.channels), lambda i, s, k, b: (k, b, 0, 0, i)),
        pl.BlockSpec((1, 1, scan.segments, scan.channels), lambda i, s, k, b: (k, b, 0, i)),
    ]


def start(operands: Operands) -> _State:
    """The state before a program's segment."""
    scan = operands.scan
    if scan.segments == 1:
        return zeros(scan)
    ends_ref, sums_ref = operands.ends

    def segment(s: Array, state: _State) -> _State:
        decays = operands.decays(operands.vector(sums_ref, 0, 0, s))
        return tuple(
            operands.math.fma(a, h, operands.vector(ends_ref, 0, 0, s, j))
            for j, (a, h) in enumerate(zip(decays, state, strict=True))
        )

    return lax.fori_loop(0, pl.program_id(1), segment, zeros(scan))


def zeros(scan: Scan) -> _State:
    """A program's state of zeros."""
    return (jnp.zeros((scan.channels,), jnp.float32),) * scan.n
