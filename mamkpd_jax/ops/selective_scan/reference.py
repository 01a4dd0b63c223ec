"""The selective scan, one token after another: the definition of truth.

Source: Mamba, arXiv 2312.00752, eq. 2: h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t and y_t = C_t . h_t.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float


@jax.custom_vjp
def recurrence(a: Float[Array, "*ls"], x: Float[Array, "*ls"]) -> Float[Array, "*ls"]:
    """h_t = a_t h_{t-1} + x_t from h_0 = 0, over the first axis."""
    return _scan(a, x, reverse=False)


# The gradient of the recurrence is the recurrence from the end: dx_t = dh_t + a_{t+1} dx_{t+1}, and
# da_t = dx_t h_{t-1}. Autodiff of the loop gives the same in three times the time on a CPU, as it differentiates and
# stores every operation of every step.
def _forward(a: Array, x: Array) -> tuple[Array, tuple[Array, Array]]:
    h = _scan(a, x, reverse=False)
    return h, (a, h)


def _backward(saved: tuple[Array, Array], dh: Array) -> tuple[Array, Array]:
    a, h = saved
    zero = jnp.zeros_like(a[:1])
    dx = _scan(jnp.concatenate([a[1:], zero]), dh, reverse=True)
    return dx * jnp.concatenate([zero, h[:-1]]), dx


recurrence.defvjp(_forward, _backward)


def _scan(a: Array, x: Array, *, reverse: bool) -> Array:
    def step(h, ax):
        h = ax[0] * h + ax[1]
        return h, h

    return lax.scan(step, jnp.zeros_like(x[0]), (a, x), reverse=reverse)[1]


def scan(
    u: Float[Array, "l b d"],
    delta: Float[Array, "l b d"],
    A: Float[Array, "d n"],
    B: Float[Array, "l b n"],
    C: Float[Array, "l b n"],
) -> Float[Array, "l b d"]:
    """The scan of fp32 sequences, without the D skip. States are [.., n, d]: the last axis is the vectorised one."""
    a = jnp.exp(delta[:, :, None] * A.T)
    # As dot products: the gradients of B and C then are too, which XLA's CPU code sums over the channels twice as fast
    # as what broadcasting gives. HIGHEST: no TF32 on a GPU.
    x = jnp.einsum("lbd,lbn->lbnd", delta * u, B, precision=lax.Precision.HIGHEST)
    return jnp.einsum("lbnd,lbn->lbd", recurrence(a, x), C, precision=lax.Precision.HIGHEST)
