"""Layer normalization over the last axis. Source: arXiv 1607.06450."""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

_EPSILON = 1e-5


@jax.custom_vjp
def layer_norm(x: Float[Array, "*b d"], scale: Float[Array, " d"], bias: Float[Array, " d"]) -> Float[Array, "*b d"]:
    """The norm of `x`, which is fp32 or fp64, with `scale` and `bias`."""
    return _forward(x, scale, bias)[0]


def _forward(x: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    # Of the centred values XLA makes one kernel on a GPU, with all that is elementwise around it. On a CPU the other
    # form is a pass less over memory.
    variance = lax.platform_dependent(x, mean, cpu=_of_squares, default=_of_centred)
    return (x - mean) * (_rate(variance) * scale) + bias, (x, scale)


def _backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array, Array]:
    """Mean and variance are computed again: on a GPU XLA moves more where they are kept (benchmarks/notes.md).

    On a CPU XLA finds that they are there already.
    """
    x, scale = saved
    mean = jnp.mean(x, axis=-1, keepdims=True)
    rate = _rate(_of_squares(x, mean))
    normal, gradient, rows = (x - mean) * rate, dy * scale, tuple(range(dy.ndim - 1))
    along = jnp.mean(gradient * normal, axis=-1, keepdims=True)
    dx = rate * (gradient - jnp.mean(gradient, axis=-1, keepdims=True) - normal * along)
    return dx, jnp.sum(dy * normal, axis=rows).astype(scale.dtype), jnp.sum(dy, axis=rows).astype(scale.dtype)


layer_norm.defvjp(_forward, _backward)


def _rate(variance: Array) -> Array:
    return lax.rsqrt(variance + _EPSILON)


def _of_squares(x: Array, mean: Array) -> Array:
    return jnp.maximum(jnp.mean(x * x, axis=-1, keepdims=True) - mean * mean, 0)


def _of_centred(x: Array, mean: Array) -> Array:
    return jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
