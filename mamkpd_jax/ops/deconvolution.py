"""4x4 transposed convolution with stride 2: the transpose of a 4x4 convolution with stride 2, padded by 1."""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
_PADS = ((1, 1), (1, 1))


@jax.custom_vjp
def deconvolution(x: Float[Array, "b h w c"], kernel: Float[Array, "4 4 c d"]) -> Float[Array, "b 2*h 2*w d"]:
    """`x`, dilated with zeros to twice its size and padded by 2, correlated with the kernel.

    Choice: one 2x2 convolution with four outputs, one per parity of the output pixel, because three quarters of the
    dilated input are zeros. The gradients are those of the transposed convolution: autodiff's are slower on a CPU and
    move more memory on a GPU (benchmarks/notes.md).
    """
    b, h, w, c = x.shape
    # Row 2 a + i of the kernel is row a of the kernel for parity i, whose windows start at row i of the padded map.
    kernel = kernel.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, c, -1)
    y = lax.conv_general_dilated(x, kernel, (1, 1), _PADS, dimension_numbers=_DIMENSIONS)
    y = y.reshape(b, h + 1, w + 1, 2, 2, -1)

    def pixels(i: int, j: int) -> Array:
        return y[:, i : i + h, j : j + w, i, j]

    y = jnp.stack([jnp.stack([pixels(i, j) for j in (0, 1)], axis=3) for i in (0, 1)], axis=2)
    return y.reshape(b, 2 * h, 2 * w, -1)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return deconvolution(x, kernel), (x, kernel)


def _backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved

    def transpose(kernel: Array) -> Array:
        kernel = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        return lax.conv_general_dilated(dy, kernel, (2, 2), _PADS, dimension_numbers=_DIMENSIONS)

    dx, pullback = jax.vjp(transpose, kernel)
    return dx, *pullback(x)


deconvolution.defvjp(_forward, _backward)
