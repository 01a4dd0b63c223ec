"""Convolutions, norms and stochastic depth with PyTorch's geometry, channel-last.

Parameters are fp32 whatever the compute `dtype` is. Padding is explicit and symmetric, because Flax's "SAME"
pads a stride-2 convolution unevenly.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float

from mamkpd_jax.ops.deconvolution import deconvolution
from mamkpd_jax.ops.depthwise import depthwise
from mamkpd_jax.ops.layer_norm import layer_norm, layer_norm_and_input

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

linear_init = nnx.initializers.truncated_normal(0.02)
# Kaiming normal over the fan-out. For a depth-wise kernel this initializer would take k k d as the fan-out, though each
# group has k k, so `DepthwiseConv` scales its kernel itself.
conv_init = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
decoder_init = nnx.initializers.normal(0.001)


@jax.custom_vjp
def product(x: Float[Array, "*b c"], kernel: Float[Array, "c d"]) -> Float[Array, "*b d"]:
    """`x` times a kernel that is cast to x's dtype.

    The kernel's gradient is computed in the kernel's dtype; autodiff would round it to x's dtype first.
    """
    return jnp.matmul(x, kernel.astype(x.dtype))


def _product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return product(x, kernel), (x, kernel)


def _product_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = jnp.matmul(dy, kernel.astype(x.dtype).T)
    rows = tuple(range(x.ndim - 1))
    return dx, lax.dot_general(x, dy, ((rows, rows), ((), ())), preferred_element_type=kernel.dtype)


product.defvjp(_product_forward, _product_backward)


def _affine(x: Array, kernel: Array, bias: nnx.Param | None, dtype: DTypeLike | None) -> Array:
    y = product(x.astype(dtype), kernel)
    return y if bias is None else y + bias[...].astype(dtype)


class Linear(nnx.Linear):
    """A linear layer by `product`."""

    def __init__(self, c_in: int, c_out: int, *, use_bias: bool = True, dtype: jnp.dtype, rngs: nnx.Rngs):
        super().__init__(c_in, c_out, use_bias=use_bias, kernel_init=linear_init, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
        return _affine(x, self.kernel[...], self.bias, self.dtype)


def conv(
    c_in: int, c_out: int, kernel: int, *, stride: int = 1, use_bias: bool, dtype: jnp.dtype, rngs: nnx.Rngs
) -> nnx.Conv:
    """A convolution padded by (kernel - 1) / 2 on both sides, or if kernel equals stride, one without padding."""
    pad = 0 if kernel == stride else (kernel - 1) // 2
    kind = PointwiseConv if kernel == 1 else nnx.Conv
    return kind(
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


class PointwiseConv(nnx.Conv):
    """A 1x1 convolution by `product`: cuDNN would need a transposed copy of the kernel."""

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        return _affine(x, self.kernel[0, 0], self.bias, self.dtype)


class LayerNorm(nnx.Module):
    """Layer normalization over the features, computed in fp32 (in fp64 if `dtype` is float64)."""

    def __init__(self, dim: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        del rngs
        self.scale = nnx.Param(jnp.ones(dim))
        self.bias = nnx.Param(jnp.zeros(dim))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        return layer_norm(x.astype(self.dtype), self.scale[...], self.bias[...])

    def and_input(self, x: Float[Array, "*b d"]) -> tuple[Float[Array, "*b d"], ...]:
        """The norm of `x`, and `x` for a residual connection."""
        return layer_norm_and_input(x.astype(self.dtype), self.scale[...], self.bias[...])


class BatchNorm(nnx.BatchNorm):
    """Batch normalization with PyTorch's defaults.

    Evaluation computes in fp32: in bfloat16 XLA launches extra kernels on a GPU to convert mean and bias.
    """

    def __init__(self, dim: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        super().__init__(dim, momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)
        self._wide = jnp.promote_types(dtype, jnp.float32)

    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h w d"]:
        if not self.use_running_average:
            return super().__call__(x)
        assert self.scale is not None and self.bias is not None  # no option leaves them out
        rate = lax.rsqrt(self.var[...] + self.epsilon) * self.scale[...]
        y = (x.astype(self._wide) - self.mean[...]) * rate + self.bias[...]
        return y.astype(self.dtype)


class ImageConv(nnx.Module):
    """7x7 convolution of an image with stride 2 and no bias, padded by 3.

    Choice: computed over squares of 2x2 pixels, as a 4x4 convolution of 12 channels with stride 1. On a CPU XLA's
    general convolution of three channels takes 11 times as long for 24 features, and 0.7 times as long for 96
    (`mamkpd bench layers`).
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

    Choice: `ops/depthwise.py`, because XLA's grouped convolution takes many times as long on a CPU.
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

    The kernel [4, 4, c_in, c_out] is correlated with the zero-dilated input, so it is PyTorch's kernel rotated by
    180 degrees.
    """

    def __init__(self, c_in: int, c_out: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.kernel = nnx.Param(decoder_init(rngs.params(), (4, 4, c_in, c_out)))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        return deconvolution(x.astype(self.dtype), self.kernel[...].astype(self.dtype))


@jax.checkpoint
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """GELU with the error function; in bfloat16 on NVIDIA GPUs with tanh, which differs by less than 5e-4.

    Choice: cuBLAS applies the tanh form at the end of a matrix product; the error function needs another pass over
    memory. The gradient recomputes the function, because XLA would store it in fp32.
    """
    if x.dtype == jnp.bfloat16:
        return lax.platform_dependent(x, cuda=_gelu_by_tanh, default=_gelu)
    return _gelu(x)


def _gelu(x: Array) -> Array:
    return nnx.gelu(x.astype(jnp.promote_types(x.dtype, jnp.float32)), approximate=False).astype(x.dtype)


def _gelu_by_tanh(x: Array) -> Array:
    return nnx.gelu(x, approximate=True)


@jax.custom_vjp
def stored_in_dtype(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns `x`, and makes training store it and its gradient in the dtype of `x`.

    Without this XLA stores bfloat16 results of fp32 sums in fp32 on a GPU.
    """
    return x


stored_in_dtype.defvjp(lambda x: (lax.optimization_barrier(x), None), lambda _, dy: (lax.optimization_barrier(dy),))


def drop_path(x: Float[Array, "b h w d"], rate: float, rngs: nnx.Rngs | None) -> Float[Array, "b h w d"]:
    """Drops the residual branch of whole examples at `rate` and scales the others up; returns `x` without `rngs`.

    Source: stochastic depth, arXiv 1603.09382.
    """
    if rngs is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(rngs.drop_path(), 1 - rate, (x.shape[0], 1, 1, 1))
    return jnp.where(keep, x / (1 - rate), 0)
