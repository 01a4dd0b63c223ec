"""Convolutions, norms and stochastic depth with PyTorch's geometry, channel-last.

Parameters are fp32 whatever the compute `dtype` is. Padding is explicit and symmetric, because Flax's "SAME"
pads a stride-2 convolution unevenly.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jaxtyping import Float

from mamkpd_jax.ops.depthwise import depthwise
from mamkpd_jax.ops.layer_norm import layer_norm

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

linear_init = nnx.initializers.truncated_normal(0.02)
# Kaiming normal over the fan-out. The plain initializer counts a depth-wise kernel [k, k, 1, d] as fan-out k k d,
# where each group has k k: `DepthwiseConv` divides it out.
conv_init = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
decoder_init = nnx.initializers.normal(0.001)

BatchNorm = functools.partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5)
Linear = functools.partial(nnx.Linear, kernel_init=linear_init)


def conv(
    c_in: int, c_out: int, kernel: int, *, stride: int = 1, use_bias: bool, dtype: jnp.dtype, rngs: nnx.Rngs
) -> nnx.Conv:
    """A convolution padded by (kernel - 1) / 2 on both sides, or a partition where kernel equals stride."""
    pad = 0 if kernel == stride else (kernel - 1) // 2
    return nnx.Conv(
        c_in,
        c_out,
        (kernel, kernel),
        strides=stride,
        padding=((pad, pad), (pad, pad)),
        use_bias=use_bias,
        kernel_init=conv_init,
        dtype=dtype,
        rngs=rngs,
    )


class LayerNorm(nnx.Module):
    """Layer normalization over the features, computed in fp32 (fp64 if `dtype` is that)."""

    def __init__(self, dim: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        del rngs
        self.scale = nnx.Param(jnp.ones(dim))
        self.bias = nnx.Param(jnp.zeros(dim))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        x = x.astype(jnp.promote_types(self.dtype, jnp.float32))
        return layer_norm(x, self.scale[...], self.bias[...]).astype(self.dtype)


class ImageConv(nnx.Module):
    """7x7 convolution of an image with stride 2 and no bias, padded by 3.

    Choice: computed over squares of 2x2 pixels, as a 4x4 convolution of 12 channels with stride 1. On a CPU XLA's
    general convolution of three channels takes fifteen times as long for 24 features, and as long for 96
    (`python -m mamkpd_jax.bench layers`).
    """

    def __init__(self, dim: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.kernel = nnx.Param(conv_init(rngs.params(), (7, 7, 3, dim)))
        self.dtype = dtype

    def __call__(self, image: Float[Array, "b h w 3"]) -> Float[Array, "b h2 w2 d"]:
        # Pixel 2 i + a of a row is number a of square i; the kernel's first pixel is number 1 of a square.
        kernel = jnp.pad(self.kernel[...].astype(self.dtype), ((1, 0), (1, 0), (0, 0), (0, 0)))
        kernel = _squares(kernel.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
        pads = ((2, 1), (2, 1))
        return lax.conv_general_dilated(
            _squares(image.astype(self.dtype)), kernel, (1, 1), pads, dimension_numbers=_DIMENSIONS
        )


def _squares(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c4"]:
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // 2, w // 2, 4 * c)


class DepthwiseConv(nnx.Module):
    """3x3 depth-wise convolution, padded by 1, with stride 1 or 2.

    Choice: not by XLA's grouped convolution, which takes many times as long on a CPU; `ops/depthwise.py` says how.
    """

    def __init__(self, dim: int, *, stride: int = 1, use_bias: bool, dtype: jnp.dtype, rngs: nnx.Rngs):
        std = (2.0 / 9) ** 0.5
        self.kernel = nnx.Param(std * jax.random.normal(rngs.params(), (3, 3, dim)))
        self.bias = nnx.Param(jnp.zeros(dim)) if use_bias else None
        self.stride = stride
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h2 w2 d"]:
        y = depthwise(x.astype(self.dtype), self.kernel[...].astype(self.dtype), self.stride)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


class Deconv(nnx.Module):
    """4x4 transposed convolution with stride 2 and no bias: PyTorch's ConvTranspose2d(4, stride=2, padding=1).

    The kernel [4, 4, c_in, c_out] is correlated with the zero-dilated input, so it is PyTorch's kernel turned by
    180 degrees.

    Choice: computed as four 2x2 convolutions, one per parity of the output pixel, instead of one convolution over
    the dilated input, three quarters of which is zeros: forward XLA takes as long for the latter on CPU, with gradients
    nine times as long (`python -m mamkpd_jax.bench layers`).
    """

    def __init__(self, c_in: int, c_out: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.kernel = nnx.Param(decoder_init(rngs.params(), (4, 4, c_in, c_out)))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        b, h, w, _ = x.shape
        x = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (1, 1), (0, 0)))
        kernel = self.kernel[...].astype(self.dtype)

        def pixels(row: int, column: int) -> Array:
            window = x[:, row : row + h + 1, column : column + w + 1]
            taps = kernel[row::2, column::2]
            return lax.conv_general_dilated(window, taps, (1, 1), "VALID", dimension_numbers=_DIMENSIONS)

        y = jnp.stack([jnp.stack([pixels(i, j) for j in (0, 1)], axis=3) for i in (0, 1)], axis=2)
        return y.reshape(b, 2 * h, 2 * w, -1)


@jax.checkpoint
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """GELU by the error function, in fp32: in bfloat16 XLA makes two passes of it on a GPU.

    The gradient computes the error function again: XLA would store it in fp32.
    """
    return nnx.gelu(x.astype(jnp.float32), approximate=False).astype(x.dtype)


@jax.custom_vjp
def in_memory(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns `x`. Training stores it and its gradient in its dtype.

    Without this XLA stores bfloat16 results of fp32 sums in fp32 on a GPU.
    """
    return x


in_memory.defvjp(lambda x: (lax.optimization_barrier(x), None), lambda _, dy: (lax.optimization_barrier(dy),))


def drop_path(x: Float[Array, "b h w d"], rate: float, rngs: nnx.Rngs | None) -> Float[Array, "b h w d"]:
    """Drops the residual branch of whole examples at `rate` and scales the others up; nothing without `rngs`.

    Source: stochastic depth, arXiv 1603.09382.
    """
    if rngs is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(rngs.drop_path(), 1 - rate, (x.shape[0], 1, 1, 1))
    return jnp.where(keep, x / (1 - rate), 0)
