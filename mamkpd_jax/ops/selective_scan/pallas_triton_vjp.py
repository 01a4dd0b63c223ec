"""The selective scan as a Pallas kernel for NVIDIA GPUs, by Triton: backward.

It takes the forward kernel's walk from its end, and recomputes the states inside a chunk from the checkpoint before
the chunk. Results are deterministic, because no two programs add to the same memory: each program writes a separate
part of a sum over channel blocks, segments, directions or the batch.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from mamkpd_jax.ops.selective_scan.arithmetic import LN2
from mamkpd_jax.ops.selective_scan.operands import Operands, Token, direction_and_batch, operand_specs, token_spec
from mamkpd_jax.ops.selective_scan.segments import Chunks, ends, ends_specs, start, zeros
from mamkpd_jax.ops.selective_scan.tiling import Scan
from mamkpd_jax.ops.selective_scan.walk import bounded, by_direction
from mamkpd_jax.ops.selective_scan.warp_sums import WarpSums


def backward(scan: Scan, dy: Array, states: Array, *operands: Array) -> tuple[Array, ...]:
    """Gradients of sum(y dy).

    Args:
        dy: [b, l d], the same for all directions.
        states: the forward kernel's checkpoints.
        operands: as in `Operands`.

    Returns:
        du [k, b, l, d] of each direction and ddelta [k, b, l, d], both in u's dtype; dBC [k, b, l, 2 n]; dA and dD
        together [k, b, n + 1, d]. If the kernel makes delta, ddelta is the gradient of softplus's argument, and the
        last result has those of log(-A), D and bias [k, b, n + 2, d].
    """
    u, k, b, f32 = operands[0], len(scan.directions), operands[0].shape[0], jnp.float32
    scan, rows = scan.for_batch(b), scan.n + (2 if scan.rank else 1)
    maps = (k, b, scan.length * scan.d)
    states_block = (1, 1, scan.n_chunks, scan.n, scan.channels)
    outs = [
        (jax.ShapeDtypeStruct(maps, u.dtype), token_spec(scan, scan.d)),
        (jax.ShapeDtypeStruct(maps, u.dtype if scan.rank else operands[4].dtype), token_spec(scan, scan.d)),
        (
            jax.ShapeDtypeStruct((k, b, scan.blocks, scan.length * 2 * scan.n), f32),
            pl.BlockSpec(
                (1, 1, 1, scan.length * 2 * scan.n),
                lambda i, s, k, b: (*direction_and_batch(scan, k, b), bounded(i, scan.blocks), 0),
            ),
        ),
        (
            jax.ShapeDtypeStruct((k, b, scan.segments, rows, scan.d), f32),
            pl.BlockSpec((1, 1, 1, rows, scan.channels), lambda i, s, k, b: (k, b, s, 0, i)),
        ),
    ]
    out_shape, out_specs = zip(*outs, strict=True)
    results = pl.pallas_call(
        functools.partial(_kernel, scan),
        grid=(scan.blocks, scan.segments, k, b),
        in_specs=[
            token_spec(scan, scan.d, directions=False),
            pl.BlockSpec(states_block, lambda i, s, k, b: (k, b, 0, 0, i)),
            *operand_specs(scan, operands[1]),
            *ends_specs(scan),
        ],
        out_specs=list(out_specs),
        out_shape=list(out_shape),
        interpret=scan.interpret,
        compiler_params=plgpu.CompilerParams(num_warps=1, num_stages=1),
        name="selective_scan_backward",
    )(dy, states, *operands, *ends(scan, dy, *operands[1:], adjoint=True))
    du, ddelta, dBC, dweights = results
    du, ddelta = (x.reshape(k, b, scan.length, scan.d) for x in (du, ddelta))
    dBC = jnp.sum(dBC, axis=2).reshape(k, b, scan.length, 2 * scan.n)
    return du, ddelta, dBC, jnp.sum(dweights, axis=2)


def _kernel(scan: Scan, dy_ref, states_ref, *refs) -> None:
    operands, (du_ref, ddelta_ref, dBC_ref, dweights_ref) = Operands(scan, *refs[:-4]), refs[-4:]
    chunks, start_dstate, math = Chunks(scan), start(operands), operands.math

    def run(direction: int) -> None:
        walk = scan.walk(direction)

        def load(i: Array) -> tuple[list[Token], list[Array]]:
            c = walk.n_chunks - 1 - i
            tokens = [operands.load(t) for t in walk.tokens(c)]
            return tokens, [operands.vector(states_ref, 0, 0, c, j) for j in range(scan.n)]

        def chunk(i: Array, loaded: tuple[list[Token], list[Array]], totals: tuple) -> tuple:
            (tokens, state), (dstate, dA, dD, dbias) = loaded, totals
            c = walk.n_chunks - 1 - i
            places = walk.tokens(c)
            again = []
            for token in tokens:
                delta, B, C, gate = operands.step(token)
                u = token.u.astype(jnp.float32)
                decay, before = operands.decays(delta), state
                state = [math.fma(a, h, delta * u * b) for a, h, b in zip(decay, before, B, strict=True)]
                again.append((u, delta, B, C, gate, decay, before, state))
            # Loaded only now: the loop above needs no dy, and this saves registers.
            dys = [operands.token(dy_ref, 0, t) for t in places]
            sums = WarpSums(scan.channels, scan.interpret)
            for t, dy, (u, delta, B, C, gate, decay, before, state) in reversed(
                list(zip(places, dys, again, strict=True))
            ):
                dy = dy.astype(jnp.float32)
                dstate = [math.fma(dy, c, g) for g, c in zip(dstate, C, strict=True)]
                for product in [*(g * (delta * u) for g in dstate), *(h * dy for h in state)]:
                    sums.add(product)
                dinput = math.dot(dstate, B)
                dstate = [g * a for g, a in zip(dstate, decay, strict=True)]
                # The gradient of the decay's exponent, delta A, without the factor ln 2.
                dexponent = [g * h for g, h in zip(dstate, before, strict=True)]
                dA = [math.fma(e, delta, s) for s, e in zip(dA, dexponent, strict=True)]
                ddecay = math.dot(dexponent, operands.A)
                ddelta = math.fma(dinput, u, ddecay * LN2)
                if gate is not None:
                    ddelta = ddelta * gate
                    dbias = dbias + ddelta
                dD = math.fma(dy, u, dD)
                operands.store_token(du_ref, math.fma(dinput, delta, operands.D * dy), 0, 0, t)
                operands.store_token(ddelta_ref, ddelta, 0, 0, t)
            dBC, columns = sums.result(), 2 * scan.n
            index = jnp.arange(dBC.size, dtype=jnp.int32)
            row = walk.place(c, scan.chunk - 1 - lax.div(index, columns)).times(columns)
            dBC_at = dBC_ref.at[0, 0, 0, row + lax.rem(index, columns)]
            plgpu.store(dBC_at, dBC, mask=index < scan.chunk * columns)
            return tuple(dstate), tuple(dA), dD, dbias

        zero = jnp.zeros((scan.channels,), jnp.float32)
        _, dA, dD, dbias = chunks.fold(load, chunk, (start_dstate, zeros(scan), zero, zero))
        rows = [total * (A * LN2 if scan.rank else LN2) for total, A in zip(dA, operands.A, strict=True)]
        rows += [dD, dbias] if scan.rank else [dD]
        for j, row in enumerate(rows):
            operands.store(dweights_ref, row, 0, 0, 0, j)

    by_direction(scan.directions, run)
