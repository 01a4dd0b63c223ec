"""The layers that Flax doesn't have, against XLA's general convolution, and their initialisation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from mamkpd_jax.model.layers import (
    BatchNorm,
    Deconv,
    DepthwiseConv,
    ImageConv,
    _gelu_by_tanh,
    conv,
    drop_path,
    gelu,
    product,
    stored_in_dtype,
)
from mamkpd_jax.ops.deconvolution import deconvolution
from mamkpd_jax.ops.depthwise import _by_rows, _by_taps, depthwise

_FP32 = {"dtype": jnp.dtype("float32")}
_convolve = functools.partial(
    lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=lax.Precision.HIGHEST
)


def _map(h: int, w: int, d: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, h, w, d)), jnp.float32)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("h", "w"), [(8, 6), (7, 5), (1, 1)])
def test_depthwise_is_a_grouped_convolution(h, w, stride):
    d = 5
    layer = DepthwiseConv(d, stride=stride, use_bias=True, rngs=nnx.Rngs(0), **_FP32)
    layer.bias[...] = jnp.arange(d, dtype=jnp.float32)
    x = _map(h, w, d)
    kernel = layer.kernel[...].reshape(3, 3, 1, d)
    expected = _convolve(x, kernel, (stride, stride), ((1, 1), (1, 1)), feature_group_count=d) + layer.bias[...]
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("h", "w"), [(8, 6), (7, 5), (1, 1)])
def test_depthwise_gradients_match_a_grouped_convolution(h, w, stride, dtype):
    d = 5
    x, kernel = _map(h, w, d).astype(dtype), jax.random.normal(jax.random.key(0), (3, 3, d), dtype)
    y, pullback = jax.vjp(lambda *inputs: depthwise(*inputs, stride), x, kernel)
    dy = jax.random.normal(jax.random.key(1), y.shape, dtype)

    def grouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
        kernel = kernel.reshape(3, 3, 1, d)
        return _convolve(x, kernel, (stride, stride), ((1, 1), (1, 1)), feature_group_count=d)

    expected = jax.vjp(grouped, x.astype("float32"), kernel.astype("float32"))[1](dy.astype("float32"))
    for ours, theirs in zip(pullback(dy), expected, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(np.float32(ours), theirs, rtol=1e-5 if dtype == "float32" else 0.02, atol=0.05)


def test_both_depthwise_kernel_gradients_agree():
    x, dy = _map(7, 5, 6), _map(7, 5, 6)[::-1]
    np.testing.assert_allclose(_by_rows(x, dy), _by_taps(x, dy), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("h", "w"), [(8, 6), (2, 2), (32, 4)])
def test_image_convolution_is_7x7_with_stride_2(h, w):
    layer = ImageConv(5, rngs=nnx.Rngs(0), **_FP32)
    expected = _convolve(_map(h, w, 3), layer.kernel[...], (2, 2), ((3, 3), (3, 3)))
    np.testing.assert_allclose(layer(_map(h, w, 3)), expected, atol=1e-5)


@pytest.mark.parametrize(("h", "w"), [(4, 3), (1, 5)])
def test_deconv_is_a_convolution_of_the_dilated_input(h, w):
    layer = Deconv(5, 3, rngs=nnx.Rngs(0), **_FP32)
    layer.kernel[...] = jax.random.normal(jax.random.key(0), (4, 4, 5, 3))
    x = _map(h, w, 5)
    expected = _convolve(x, layer.kernel[...], (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2))
    assert expected.shape == (2, 2 * h, 2 * w, 3)
    np.testing.assert_allclose(layer(x), expected, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("h", "w"), [(4, 3), (1, 5)])
def test_deconvolution_gradients_match_that_convolution(h, w, dtype):
    x, kernel = _map(h, w, 5).astype(dtype), jax.random.normal(jax.random.key(0), (4, 4, 5, 3), dtype)
    y, pullback = jax.vjp(deconvolution, x, kernel)
    dy = jax.random.normal(jax.random.key(1), y.shape, dtype)
    dilated = functools.partial(_convolve, window_strides=(1, 1), padding=((2, 2), (2, 2)), lhs_dilation=(2, 2))
    expected = jax.vjp(dilated, x.astype("float32"), kernel.astype("float32"))[1](dy.astype("float32"))
    for ours, theirs in zip(pullback(dy), expected, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(np.float32(ours), theirs, rtol=1e-5 if dtype == "float32" else 0.02, atol=1e-3)


def test_1x1_convolution_is_a_convolution():
    layer = conv(5, 3, 1, use_bias=True, rngs=nnx.Rngs(0), **_FP32)
    layer.bias[...] = jnp.arange(3, dtype=jnp.float32)
    expected = _convolve(_map(4, 3, 5), layer.kernel[...], (1, 1), "VALID") + layer.bias[...]
    np.testing.assert_allclose(layer(_map(4, 3, 5)), expected, atol=1e-5)


def test_product_does_not_round_the_kernels_gradient():
    x, kernel = _map(8, 6, 5).astype(jnp.bfloat16), jax.random.normal(jax.random.key(0), (5, 3))
    y, pullback = jax.vjp(product, x, kernel)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, x @ kernel.astype(jnp.bfloat16))
    dx, dkernel = pullback(y)
    np.testing.assert_array_equal(dx, y @ kernel.astype(jnp.bfloat16).T)
    assert dkernel.dtype == jnp.float32
    np.testing.assert_allclose(dkernel, np.einsum("bhwc,bhwd->cd", np.float64(x), np.float64(y)), rtol=1e-5)


def test_batch_norm_in_evaluation_rounds_once():
    norm = BatchNorm(5, dtype=jnp.dtype("bfloat16"), rngs=nnx.Rngs(0))
    norm.eval()
    for variable, value in ((norm.mean, 3.003), (norm.var, 0.01), (norm.scale, 1.007), (norm.bias, -0.501)):
        variable[...] = jnp.full(5, value)
    x = _map(8, 6, 5).astype(jnp.bfloat16) + 3
    expected = (np.float64(x) - 3.003) / np.sqrt(0.01 + 1e-5) * 1.007 - 0.501
    np.testing.assert_allclose(np.float64(norm(x)), expected, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 1e-6), ("bfloat16", 2**-8)])
def test_gelu_matches_the_error_function(dtype, rounding):
    x = jnp.linspace(-6, 6, 2001).astype(dtype)
    y, pullback = jax.vjp(gelu, x)
    exact, exact_pullback = jax.vjp(functools.partial(nnx.gelu, approximate=False), x.astype("float32"))
    np.testing.assert_allclose(np.float32(y), exact, rtol=rounding, atol=1e-6)
    expected = exact_pullback(jnp.ones_like(exact))[0]
    np.testing.assert_allclose(np.float32(pullback(jnp.ones_like(y))[0]), expected, rtol=rounding, atol=1e-6)
    np.testing.assert_allclose(_gelu_by_tanh(x.astype("float32")), exact, rtol=0, atol=5e-4)


def test_strided_convolutions_pad_symmetrically():
    layer = conv(1, 1, 7, stride=2, use_bias=False, rngs=nnx.Rngs(0), **_FP32)
    layer.kernel[...] = jnp.zeros((7, 7, 1, 1)).at[3, 3].set(1.0)
    x = _map(8, 6, 1)
    np.testing.assert_array_equal(layer(x), x[:, ::2, ::2])


def test_initial_kernels_are_kaiming_by_group():
    depthwise = DepthwiseConv(4096, use_bias=False, rngs=nnx.Rngs(0), **_FP32)
    assert np.std(depthwise.kernel[...]) == pytest.approx((2 / 9) ** 0.5, rel=0.02)
    dense = conv(64, 64, 7, use_bias=False, rngs=nnx.Rngs(0), **_FP32)
    assert np.std(dense.kernel[...]) == pytest.approx((2 / (49 * 64)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_stored_in_dtype_keeps_values_and_gradients(dtype):
    x = jnp.arange(6, dtype=dtype)
    y, pullback = jax.vjp(lambda x: stored_in_dtype(x * 3) * 2, x)
    (gradient,) = pullback(jnp.ones_like(y))
    np.testing.assert_array_equal(y, x * 6)
    np.testing.assert_array_equal(gradient, jnp.full(6, 6, dtype))
    assert gradient.dtype == dtype


def test_drop_path_drops_examples_and_keeps_the_mean():
    x = jnp.ones((4000, 1, 1, 3))
    y = np.asarray(drop_path(x, 0.25, nnx.Rngs(drop_path=0)))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (y == y[..., :1]).all()
    assert y.mean() == pytest.approx(1.0, abs=0.03)
    assert drop_path(x, 0.25, None) is x
