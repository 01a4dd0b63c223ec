"""Softplus and its derivative against float64."""

import jax
import jax.numpy as jnp
import numpy as np

from mamkpd_jax.ops.softplus import softplus


def test_values_and_derivatives():
    z = np.concatenate([np.linspace(-80, 80, 100_001), [-1e-6, 0, 1e-6]]).astype(np.float32)
    exact = np.logaddexp(0, np.float64(z))
    np.testing.assert_allclose(jax.jit(softplus)(z), exact, rtol=1e-6)
    derivatives = jax.jit(jax.vmap(jax.grad(softplus)))(z)
    np.testing.assert_allclose(derivatives, np.exp(np.float64(z) - exact), rtol=1e-5)


def test_nan_and_infinity():
    y = np.asarray(softplus(jnp.array([jnp.nan, jnp.inf, -jnp.inf])))
    np.testing.assert_array_equal(y, [np.nan, np.inf, 0])
