"""The public scans, made from a scan of one sequence, for implementations that know nothing of maps.

A `scan(u, delta, A, B, C, reverse)` takes fp32 sequences with the length first and leaves out the D skip.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from mamkpd_jax.ops.batch_parallel import over_batch
from mamkpd_jax.ops.cross_scan import to_map, to_sequence
from mamkpd_jax.ops.softplus import softplus

# Choice: of Base's maps on a CPU, the first two stages' exceed it, and take 0.7 of the time in turn.
_LARGE_MAP = 2**17


def ss2d(
    scan: Callable[..., Array],
    u: Float[Array, "b h w d"],
    proj: Float[Array, "b h w k p"],
    dt_weight: Float[Array, "k r d"],
    dt_bias: Float[Array, "k d"],
    A: Float[Array, "k d n"],
) -> Float[Array, "b h w d"]:
    """The fp32 sum of a map's scans in four directions, without the D skip.

    Choice: one direction after another; one loop over all four took up to 1.5 times as long on a CPU.
    """
    _, h, w, _ = u.shape
    rank, n = dt_weight.shape[1], A.shape[-1]
    u, proj = u.astype(jnp.float32), proj.astype(jnp.float32)

    def direction(k: int, tokens: Array) -> Array:
        low_rank, B, C = jnp.split(to_sequence(proj[:, :, :, k], k % 2 == 1), [rank, rank + n], axis=-1)
        delta = softplus(jnp.matmul(low_rank, dt_weight[k], precision=lax.Precision.HIGHEST) + dt_bias[k])
        return scan(tokens, delta, A[k], B, C, k >= 2)

    y = jnp.zeros_like(u)
    for first, columns in enumerate((False, True)):
        tokens = to_sequence(u, columns)
        y = y + to_map(direction(first, tokens) + direction(first + 2, tokens), columns, h, w)
    return y


def in_turn(ss2d: Callable[..., Array]) -> Callable[..., Array]:
    """The same scan, but in a forward pass alone large maps of a batch one after another, as each fits into the caches.

    Where gradients follow, what is saved for them exceeds the caches either way.
    """

    def of_batch(u: Array, *others: Array) -> Array:
        proj, *weights = others
        if u.shape[0] == 1 or math.prod(u.shape[1:]) * weights[-1].shape[-1] < _LARGE_MAP:
            return ss2d(u, proj, *weights)

        def each(u: Array, proj: Array, *weights: Array) -> tuple[Array]:
            return (jax.lax.map(lambda image: ss2d(image[0][None], image[1][None], *weights)[0], (u, proj)),)

        return over_batch(each, in_axes=(0, 0, *[None] * len(weights)), out_axes=(0,))(u, proj, *weights)[0]

    either = jax.custom_vjp(of_batch)
    either.defvjp(lambda *arrays: jax.vjp(ss2d, *arrays), lambda pullback, dy: pullback(dy))
    return either


def plain(
    scan: Callable[..., Array],
    u: Float[Array, "b l d"],
    delta: Float[Array, "b l d"],
    A: Float[Array, "d n"],
    B: Float[Array, "b l n"],
    C: Float[Array, "b l n"],
    reverse: bool,
) -> Float[Array, "b l d"]:
    """The fp32 scan of a sequence, without the D skip."""

    def sequence(x: Array) -> Array:
        return x.astype(jnp.float32).transpose(1, 0, 2)

    return scan(sequence(u), sequence(delta), A, sequence(B), sequence(C), reverse).transpose(1, 0, 2)
