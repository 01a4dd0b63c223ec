"""The selective scan as a Pallas kernel for NVIDIA GPUs, by Triton: forward.

One program computes one batch element, one direction, one block of channels and, in small batches, one segment of the
walk (`segments.py`). It visits the map's tokens in the direction's order, in place, with the state in fp32 registers.
So memory never holds four reordered copies of the map, nor a delta for each direction. Each direction writes a separate
result; their sum fuses with the operations after it. (The closed form with exp(cumsum) is unusable: it divides by a
decay that underflows.)
"""

import functools
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Float

from mamkpd_jax.ops.batch_parallel import over_batch
from mamkpd_jax.ops.cross_scan import DIRECTIONS
from mamkpd_jax.ops.selective_scan import self_check
from mamkpd_jax.ops.selective_scan.arithmetic import LN2, LOG2E
from mamkpd_jax.ops.selective_scan.implementation import Implementation
from mamkpd_jax.ops.selective_scan.operands import Operands, Token, operand_specs, pack, token_spec
from mamkpd_jax.ops.selective_scan.pallas_triton_vjp import backward
from mamkpd_jax.ops.selective_scan.segments import Chunks, ends, ends_specs, start
from mamkpd_jax.ops.selective_scan.tiling import Scan, plan
from mamkpd_jax.ops.selective_scan.walk import by_direction

# Jax warns from 0.11 on, and names no version for the removal. Replacements, in order: jax-triton with the same
# kernels, Mosaic GPU, CUDA through jax.ffi.
warnings.filterwarnings("ignore", "The Pallas Triton backend is deprecated", DeprecationWarning)


def forward(scan: Scan, checkpoints: bool, *operands: Array) -> tuple[Array, ...]:
    """y [k, b, l, d] of each direction, in u's dtype; with `checkpoints` also the states before chunks [k, b, c, n, d].

    `operands` are those of `Operands`.
    """
    u = operands[0]
    k, b = len(scan.directions), u.shape[0]
    scan = scan.for_batch(b)
    out_shape = [jax.ShapeDtypeStruct((k, b, scan.length * scan.d), u.dtype)]
    out_specs = [token_spec(scan, scan.d)]
    if checkpoints:
        out_shape.append(jax.ShapeDtypeStruct((k, b, scan.n_chunks, scan.n, scan.d), jnp.float32))
        out_specs.append(pl.BlockSpec((1, 1, scan.n_chunks, scan.n, scan.channels), lambda i, s, k, b: (k, b, 0, 0, i)))
    y, *states = pl.pallas_call(
        functools.partial(_kernel, scan, checkpoints),
        grid=(scan.blocks, scan.segments, k, b),
        in_specs=[*operand_specs(scan, operands[1]), *ends_specs(scan)],
        out_specs=out_specs,
        out_shape=out_shape,
        interpret=scan.interpret,
        compiler_params=plgpu.CompilerParams(num_warps=1, num_stages=1),
        name="selective_scan_forward",
    )(*operands, *ends(scan, *operands))
    return y.reshape(k, b, scan.length, scan.d), *states


def _kernel(scan: Scan, checkpoints: bool, *refs) -> None:
    n_outs = 1 + checkpoints
    operands, outs = Operands(scan, *refs[:-n_outs]), refs[-n_outs:]
    math = operands.math
    chunks, state = Chunks(scan), start(operands)

    def run(direction: int) -> None:
        walk = scan.walk(direction)

        def load(c: Array) -> list[Token]:
            return [operands.load(t) for t in walk.tokens(c)]

        def chunk(c: Array, tokens: list[Token], state: tuple[Array, ...]) -> tuple[Array, ...]:
            if checkpoints:
                for i, h in enumerate(state):
                    operands.store(outs[1], h, 0, 0, c, i)
            for t, token in zip(walk.tokens(c), tokens, strict=True):
                delta, B, C, _ = operands.step(token)
                u = token.u.astype(jnp.float32)
                decays = operands.decays(delta)
                state = tuple(math.fma(a, h, delta * u * b) for a, h, b in zip(decays, state, B, strict=True))
                y = math.dot(state, C, operands.D * u)
                operands.store_token(outs[0], y, 0, 0, t)
            return state

        chunks.fold(load, chunk, state)

    by_direction(scan.directions, run)


def ss2d(
    u: Float[Array, "b h w d"],
    proj: Float[Array, "b h w k p"],
    dt_weight: Float[Array, "k r d"],
    dt_bias: Float[Array, "k d"],
    A_log: Float[Array, "k d n"],
    D: Float[Array, "k d"],
    *,
    scan: Scan | None = None,
    interpret: bool = False,
) -> Float[Array, "b h w d"]:
    """The fp32 sum of a map's scans in four directions; `scan` replaces that of `plan`."""
    _, h, w, d = u.shape
    rank = dt_weight.shape[1]
    scan = scan or plan(range(DIRECTIONS), h, w, d, A_log.shape[-1], rank, interpret)
    if scan.rank:
        return _scan(scan, _tokens(u), _tokens(proj), A_log.mT, D, dt_weight, dt_bias).reshape(u.shape)
    low_rank, BC = proj[..., :rank], proj[..., rank:]
    z = jnp.einsum("bhwkr,krd->kbhwd", low_rank.astype(jnp.float32), dt_weight, precision=lax.Precision.HIGHEST)
    delta = jax.nn.softplus(z + dt_bias[:, None, None, None])
    return _given(scan, u, delta, -jnp.exp(A_log), BC, D)


def plain(
    u: Float[Array, "b l d"],
    delta: Float[Array, "b l d"],
    A: Float[Array, "d n"],
    B: Float[Array, "b l n"],
    C: Float[Array, "b l n"],
    D: Float[Array, " d"],
    reverse: bool,
    *,
    interpret: bool = False,
) -> Float[Array, "b l d"]:
    """The fp32 scan of a sequence."""
    _, length, d = u.shape
    scan = plan((2 if reverse else 0,), 1, length, d, A.shape[-1], 0, interpret)
    BC = jnp.concatenate([B, C], axis=-1)
    return _given(scan, u[:, None], delta[None, :, None], A[None], BC[:, None, :, None], D[None])[:, 0]


def _given(scan: Scan, u: Array, delta: Array, A: Array, BC: Array, D: Array) -> Array:
    """The sum over directions if delta is given.

    The shapes are u [b, h, w, d], delta [k, b, h, w, d], A [k, d, n], BC [b, h, w, k, 2 n] and D [k, d].
    """
    b, h, w, d = u.shape

    # A padded token has delta 0: decay 1 and no input, so it changes nothing.
    def pad(x: Array, axis: int) -> Array:
        widths = [(0, 0)] * x.ndim
        widths[axis : axis + 2] = (0, scan.h - h), (0, scan.w - w)
        return jnp.pad(x, widths)

    delta = pad(delta, 2).reshape(-1, b, scan.length, d)
    y = _scan(scan, _tokens(pad(u, 1)), _tokens(pad(BC, 1)), A.mT, D, delta)
    return y.reshape(b, scan.h, scan.w, d)[:, :h, :w]


def _tokens(x: Array) -> Array:
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:])


# The kernels compute only powers of 2. Where they make delta, delta and y are in units of ln 2.
def _sum_over_directions(scan: Scan, *operands: Array) -> Array:
    """The sum over directions, y [b, l, d]. `operands` are as in `Operands`, but for base e instead of 2."""
    (y,) = _forward_over_batch(scan, checkpoints=False)(*_to_base_2(scan, *operands))
    return _sum_of_directions(scan, y)


def _scan_forward(scan: Scan, *operands: Array) -> tuple[Array, tuple]:
    y, states = _forward_over_batch(scan, checkpoints=True)(*_to_base_2(scan, *operands))
    return _sum_of_directions(scan, y), (states, operands)


def _scan_backward(scan: Scan, saved: tuple, dy: Array) -> tuple[Array, ...]:
    """The kernel takes dy without y's factor, ln 2. XLA applies it to the results, in kernels that it needs anyway."""
    states, (u, proj, *weights) = saved
    operands = _to_base_2(scan, u, proj, *weights)
    kernel = over_batch(functools.partial(backward, scan), (0, 1, *_batch_axes(scan)), [1] * 4)
    du, ddelta, dBC, dweights = kernel(_flat(dy.astype(u.dtype), 1), states, *operands)
    du = _sum_of_directions(scan, du).astype(u.dtype)
    dBC = dBC.transpose(1, 2, 0, 3) * _unit(scan)
    dweights = jnp.sum(dweights, axis=1)
    dA, dD = dweights[:, : scan.n], dweights[:, scan.n]
    if not scan.rank:
        return du, dBC.astype(proj.dtype), dA * LOG2E, dD, ddelta
    # Here y's factor, ln 2, and that of the softplus's argument, 1 / ln 2, cancel.
    product = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    low_rank, weight = proj[..., : scan.rank].astype(u.dtype), operands[4].astype(u.dtype)
    dlow_rank = product("kbld,krd->blkr", ddelta, weight)
    dweight = jnp.sum(product("kbld,blkr->kbrd", ddelta, low_rank), axis=1)
    dproj = jnp.concatenate([dlow_rank, dBC], axis=-1).astype(proj.dtype)
    return du, dproj, dA * LN2, dD, dweight, dweights[:, -1]


_scan: Callable[..., Array] = jax.custom_vjp(_sum_over_directions, nondiff_argnums=(0,))
_scan.defvjp(_scan_forward, _scan_backward)


def _batch_axes(scan: Scan) -> tuple[int | None, ...]:
    return (0, 0, None, None, None, None) if scan.rank else (0, 0, None, None, 1)


def _forward_over_batch(scan: Scan, checkpoints: bool) -> Callable:
    return over_batch(functools.partial(forward, scan, checkpoints), _batch_axes(scan), [1] * (1 + checkpoints))


def _unit(scan: Scan) -> float:
    return LN2 if scan.rank else 1.0


def _to_base_2(scan: Scan, u: Array, proj: Array, A: Array, D: Array, *made_from: Array) -> tuple[Array, ...]:
    u, proj = _flat(u, 1), _flat(pack(proj), 1)
    if scan.rank:
        return u, proj, A, D, *made_from
    (delta,) = made_from
    return u, proj, A * LOG2E, D, _flat(delta, 2)


def _flat(x: Array, axis: int) -> Array:
    """`x` with this axis and all after it merged into one."""
    return x.reshape(*x.shape[:axis], -1)


def _sum_of_directions(scan: Scan, y: Array) -> Array:
    return jnp.sum(y, axis=0, dtype=jnp.float32) * _unit(scan)


@functools.cache
def fault() -> str | None:
    """Why the kernels can't be used on this process's GPUs; None if they can."""
    for device in jax.local_devices():
        capability = getattr(device, "compute_capability", "")
        if not self_check.supported(capability):
            return f"its compute capability is {capability!r}; expected 8.0 or newer"
    return self_check.fault(functools.partial(ss2d, scan=self_check.SCAN))


IMPLEMENTATION = Implementation(
    ss2d=ss2d,
    plain=plain,
    ranks={"cuda": 2},
    platform="cuda",
    serializable=False,
    fault=fault,
)
