"""Makes both public scans from a scan of sequences, for implementations that have no scan of maps.

A `scan(u, delta, A, B, C, reverse)` takes fp32 sequences with the length first and leaves out the D skip.
"""

import functools
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from mamkpd_jax.ops.cross_scan import to_map, to_sequence
from mamkpd_jax.ops.selective_scan.implementation import Implementation
from mamkpd_jax.ops.softplus import softplus


def implementation(scan: Callable[..., Array], ranks: Mapping[str, int]) -> Implementation:
    """The implementation for a `scan` of sequences; `ranks` as in `Implementation`."""
    return Implementation(ss2d=functools.partial(ss2d, scan), plain=functools.partial(plain, scan), ranks=ranks)


def ss2d(
    scan: Callable[..., Array],
    u: Float[Array, "b h w d"],
    proj: Float[Array, "b h w k p"],
    dt_weight: Float[Array, "k r d"],
    dt_bias: Float[Array, "k d"],
    A_log: Float[Array, "k d n"],
    D: Float[Array, "k d"],
) -> Float[Array, "b h w d"]:
    """The fp32 sum of a map's scans in four directions.

    Choice: one direction after another; one loop over all four took up to 1.5 times as long on a CPU.
    """
    _, h, w, _ = u.shape
    rank, n = dt_weight.shape[1], A_log.shape[-1]
    A = -jnp.exp(A_log)
    u, proj = u.astype(jnp.float32), proj.astype(jnp.float32)

    def direction(k: int, tokens: Array) -> Array:
        low_rank, B, C = jnp.split(to_sequence(proj[:, :, :, k], k % 2 == 1), [rank, rank + n], axis=-1)
        delta = softplus(jnp.matmul(low_rank, dt_weight[k], precision=lax.Precision.HIGHEST) + dt_bias[k])
        return scan(tokens, delta, A[k], B, C, k >= 2)

    y = jnp.zeros_like(u)
    for first, columns in enumerate((False, True)):
        tokens = to_sequence(u, columns)
        y = y + to_map(direction(first, tokens) + direction(first + 2, tokens), columns, h, w)
    return y + u * jnp.sum(D, axis=0)


def plain(
    scan: Callable[..., Array],
    u: Float[Array, "b l d"],
    delta: Float[Array, "b l d"],
    A: Float[Array, "d n"],
    B: Float[Array, "b l n"],
    C: Float[Array, "b l n"],
    D: Float[Array, " d"],
    reverse: bool,
) -> Float[Array, "b l d"]:
    """The fp32 scan of a sequence."""

    def sequence(x: Array) -> Array:
        return x.astype(jnp.float32).transpose(1, 0, 2)

    y = scan(sequence(u), sequence(delta), A, sequence(B), sequence(C), reverse).transpose(1, 0, 2)
    return y + u.astype(jnp.float32) * D
