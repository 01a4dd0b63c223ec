"""Layer normalization against float64 and autodiff, in both forms of the variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mamkpd_jax.ops import layer_norm


def _plain(x, scale, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + bias


@pytest.mark.parametrize("form", [layer_norm._of_squares, layer_norm._of_centred])
def test_values_and_gradients(monkeypatch, form):
    monkeypatch.setattr(layer_norm, "_of_squares", form)
    rng = np.random.default_rng(0)
    arguments = rng.normal(size=(2, 5, 3, 24)) + 1, rng.normal(size=24), rng.normal(size=24)
    dy = rng.normal(size=arguments[0].shape)
    y, pullback = jax.vjp(layer_norm.layer_norm, *map(jnp.float32, arguments))
    with jax.enable_x64():
        wanted, plain_pullback = jax.vjp(_plain, *map(jnp.float64, arguments))
        gradients = plain_pullback(jnp.float64(dy))
    np.testing.assert_allclose(y, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())
    for found, expected in zip(pullback(jnp.float32(dy)), gradients, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
