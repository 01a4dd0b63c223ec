"""Layer normalization over the last axis, computed in fp32, or for fp64 inputs in fp64. Source: arXiv 1607.06450.

XLA compiles it. Only the gradients use the kernel of `layer_norm_kernel.py`, on GPUs where it works.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array, export, lax
from jaxtyping import Float

from mamkpd_jax.ops import layer_norm_kernel

_EPSILON = 1e-5


def layer_norm(x: Float[Array, "*b d"], scale: Float[Array, " d"], bias: Float[Array, " d"]) -> Float[Array, "*b d"]:
    """The norm of `x`, in its dtype."""
    return _norm(False, x, scale, bias)[0]


def layer_norm_and_input(
    x: Float[Array, "*b d"], scale: Float[Array, " d"], bias: Float[Array, " d"]
) -> tuple[Float[Array, "*b d"], Float[Array, "*b d"]]:
    """The norm of `x`, and `x` for a residual connection; the kernel sums the gradients of both."""
    normed, x = _norm(True, x, scale, bias)
    return normed, x


def _norm(with_input: bool, x: Array, scale: Array, bias: Array) -> tuple[Array, ...]:
    fits = 1 < x.ndim and x.shape[-1] <= layer_norm_kernel.LARGEST and x.dtype != jnp.float64
    usable = fits and not export.is_symbolic_dim(x.shape[0]) and layer_norm_kernel.works()
    return (_with_kernel if usable else _by_xla)(with_input, x, scale, bias)


def _by_xla(with_input: bool, x: Array, scale: Array, bias: Array) -> tuple[Array, ...]:
    y = _precise(x.astype(jnp.promote_types(x.dtype, jnp.float32)), scale, bias).astype(x.dtype)
    return (y, x) if with_input else (y,)


def _with_kernel_forward(with_input: bool, *arguments: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    return _by_xla(with_input, *arguments), arguments


def _with_kernel_backward(with_input: bool, arguments: tuple, dys: tuple[Array, ...]) -> tuple[Array, ...]:
    def default(*dys: Array) -> tuple[Array, ...]:
        return jax.vjp(functools.partial(_by_xla, with_input), *arguments)[1](dys)

    x, scale, _ = arguments
    kernel = functools.partial(layer_norm_kernel.gradients, _EPSILON, x, scale)
    return lax.platform_dependent(*dys, cuda=kernel, default=default)


_with_kernel = jax.custom_vjp(_by_xla, nondiff_argnums=(0,))
_with_kernel.defvjp(_with_kernel_forward, _with_kernel_backward)


@jax.custom_vjp
def _precise(x: Array, scale: Array, bias: Array) -> Array:
    return _forward(x, scale, bias)[0]


def _forward(x: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    # On a GPU XLA fuses the centred form with the elementwise operations around it. On a CPU the other form saves a
    # pass over memory.
    variance = lax.platform_dependent(x, mean, cpu=_of_squares, default=_of_centred)
    return (x - mean) * (_rate(variance) * scale) + bias, (x, scale)


def _backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array, Array]:
    """Recomputes mean and variance: on a GPU XLA moves more memory if they are kept (benchmarks/notes.md).

    On a CPU XLA reuses those of the forward pass.
    """
    x, scale = saved
    mean = jnp.mean(x, axis=-1, keepdims=True)
    rate = _rate(_of_squares(x, mean))
    normal, gradient, rows = (x - mean) * rate, dy * scale, tuple(range(dy.ndim - 1))
    along = jnp.mean(gradient * normal, axis=-1, keepdims=True)
    dx = rate * (gradient - jnp.mean(gradient, axis=-1, keepdims=True) - normal * along)
    return dx, jnp.sum(dy * normal, axis=rows).astype(scale.dtype), jnp.sum(dy, axis=rows).astype(scale.dtype)


_precise.defvjp(_forward, _backward)


def _rate(variance: Array) -> Array:
    return lax.rsqrt(variance + _EPSILON)


def _of_squares(x: Array, mean: Array) -> Array:
    return jnp.maximum(jnp.mean(x * x, axis=-1, keepdims=True) - mean * mean, 0)


def _of_centred(x: Array, mean: Array) -> Array:
    return jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
