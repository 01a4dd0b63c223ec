"""The 3x3 depth-wise convolution, channel-last and padded by 1.

It is a sum of nine shifted products, which XLA fuses. XLA's grouped convolution takes 14 to 56 times as long on a CPU,
and 18 to 23 times with gradients (`mamkpd bench layers`).
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

_TAPS = [(i, j) for i in range(3) for j in range(3)]


def depthwise(x: Float[Array, "b h w d"], kernel: Float[Array, "3 3 d"], stride: int) -> Float[Array, "b h2 w2 d"]:
    """The convolution of a map, in its dtype, with stride 1 or 2."""
    return _depthwise(x, kernel, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _depthwise(x: Array, kernel: Array, stride: int) -> Array:
    by_rows, by_columns = (functools.partial(_sum_of_taps, stride=stride, by_rows=by) for by in (True, False))
    return lax.platform_dependent(x, kernel, cpu=by_rows, default=by_columns)


def _sum_of_taps(x: Array, kernel: Array, *, stride: int, by_rows: bool) -> Array:
    """The convolution as a sum of shifted slices, of flattened rows if `by_rows`, else of rows and columns.

    On a CPU the second form takes up to 1.7 times as long, from 48 features on. On a GPU XLA makes two passes of the
    first form, and fuses the second with the operations after it.
    """
    b, h, w, d = x.shape
    x, y = _padded(x), jnp.zeros((), x.dtype)
    rows = x.reshape(b, h + 2, (w + 2) * d)
    for i, j in _TAPS:
        if by_rows:
            shifted = rows[:, i : i + h : stride, j * d : (j + w) * d].reshape(b, -1, w, d)[:, :, ::stride]
        else:
            shifted = x[:, i : i + h : stride, j : j + w : stride]
        y = y + shifted * kernel[i, j]
    return y


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _depthwise(x, kernel, stride), (x, kernel)


def _backward(stride: int, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    """Treats stride 2 like stride 1, with zeros between the gradients. Autodiff would keep nine copies of the map."""
    x, kernel = saved
    rest = [(n - 1) % stride for n in x.shape[1:3]]
    between = [(0, after, stride - 1) for after in rest]
    dy = lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *between, (0, 0, 0)])
    d_kernel = lax.platform_dependent(x, dy, cpu=_by_rows, default=_by_taps)
    return _depthwise(dy, kernel[::-1, ::-1], 1), d_kernel.astype(kernel.dtype)


_depthwise.defvjp(_forward, _backward)


def _by_taps(x: Float[Array, "b h w d"], dy: Float[Array, "b h w d"]) -> Float[Array, "3 3 d"]:
    """The kernel's gradient, fp32, in one sum over all taps. A sum for each tap would take XLA five passes."""
    _, h, w, d = x.shape
    x, dy = _padded(x).astype(jnp.float32), dy.astype(jnp.float32)
    products = jnp.stack([x[:, i : i + h, j : j + w] * dy for i, j in _TAPS], axis=3)
    return jnp.sum(products, axis=(0, 1, 2)).reshape(3, 3, d)


def _by_rows(x: Float[Array, "b h w d"], dy: Float[Array, "b h w d"]) -> Float[Array, "3 3 d"]:
    """The kernel's gradient by a loop over the rows, which takes as little as a sixth of the time on a CPU.

    Each row adds its products to sums by map, tap, column and channel, which fit into a cache.
    """
    b, h, w, d = x.shape
    x = _padded(x).astype(jnp.float32).reshape(b, h + 2, (w + 2) * d)
    dy = dy.astype(jnp.float32).reshape(b, h, w * d)

    def add(i: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        rows, gradient = lax.dynamic_slice_in_dim(x, i, 3, axis=1), lax.dynamic_slice_in_dim(dy, i, 1, axis=1)
        return tuple(total + rows[:, :, j * d : (j + w) * d] * gradient for j, total in enumerate(sums))

    sums = lax.fori_loop(0, h, add, (jnp.zeros((b, 3, w * d)),) * 3)
    return jnp.stack([jnp.sum(total.reshape(b, 3, w, d), axis=(0, 2)) for total in sums], axis=1)


def _padded(x: Float[Array, "b h w d"]) -> Float[Array, "b h2 w2 d"]:
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
