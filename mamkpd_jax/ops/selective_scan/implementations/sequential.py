"""The selective scan, one token after another.

A CPU gains nothing from the parallel prefix, which does more arithmetic: for Base's first stage at batch 2 it takes
several times as long as this loop (`mamkpd bench scan`).

Source: Mamba, arXiv 2312.00752, eq. 2: h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t and y_t = C_t . h_t.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from mamkpd_jax.ops.selective_scan import by_sequence


def scan(
    u: Float[Array, "l b d"],
    delta: Float[Array, "l b d"],
    A: Float[Array, "d n"],
    B: Float[Array, "l b n"],
    C: Float[Array, "l b n"],
    reverse: bool,
) -> Float[Array, "l b d"]:
    """The scan of fp32 sequences, without the D skip. States are [.., n, d], because the last axis is vectorised."""
    return _scan(u, delta, A, B, C, reverse)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _scan(u: Array, delta: Array, A: Array, B: Array, C: Array, reverse: bool) -> Array:
    return _forward(u, delta, A, B, C, reverse)[0]


def _forward(u: Array, delta: Array, A: Array, B: Array, C: Array, reverse: bool) -> tuple[Array, tuple[Array, ...]]:
    length, du = len(u), delta * u
    decay = jnp.exp(delta[:, :, None] * A.T)

    def step(i: Array, carried: tuple[Array, Array]) -> tuple[Array, Array]:
        h, states = carried
        token = length - 1 - i if reverse else i
        h = states[token] * h + du[token][:, None] * B[token][..., None]
        return h, states.at[token].set(h)

    # The states overwrite the decays, if those are not kept. A new array must be filled first, which costs a tenth more
    # at batch 8.
    _, h = lax.fori_loop(0, length, step, (jnp.zeros_like(decay[0]), decay))
    return jnp.sum(h * C[..., None], axis=2), (u, delta, A, B, C, decay, h)


# Autodiff of the loop takes three times as long on a CPU: it differentiates and stores each operation of each step.
# Here only dx_t = dh_t + decay_{t+1} dx_{t+1} is a recurrence, from the other end; the rest is elementwise or a sum.
def _backward(reverse: bool, saved: tuple[Array, ...], dy: Array) -> tuple[Array, ...]:
    u, delta, A, B, C, decay, h = saved

    def step(carried: Array, token: tuple[Array, ...]) -> tuple[Array, Array]:
        decay, dy, C = token
        dx = dy[:, None] * C[..., None] + carried
        return decay * dx, dx

    _, dx = lax.scan(step, jnp.zeros_like(h[0]), (decay, dy, C), reverse=not reverse)
    zero = jnp.zeros_like(h[:1])
    h_before = jnp.concatenate([h[1:], zero] if reverse else [zero, h[:-1]])
    d_exponent = dx * h_before * decay
    dx_B = jnp.sum(dx * B[..., None], axis=2)
    d_delta = jnp.sum(d_exponent * A.T, axis=2) + dx_B * u
    dA = jnp.sum(d_exponent * delta[:, :, None], axis=(0, 1)).T
    return dx_B * delta, d_delta, dA, _channel_sum(dx * (delta * u)[:, :, None]), _channel_sum(h * dy[:, :, None])


_scan.defvjp(_forward, _backward)


def _channel_sum(x: Float[Array, "l b n d"]) -> Float[Array, "l b n"]:
    """The sum over channels, as a matrix product: XLA's sum over the last axis takes up to twice as long on a CPU."""
    return jnp.matmul(x, jnp.ones(x.shape[-1], x.dtype), precision=lax.Precision.HIGHEST)


IMPLEMENTATION = by_sequence.implementation(scan, ranks={"cpu": 2, "default": 0})
