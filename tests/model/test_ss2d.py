"""SS2D's initial parameters, its global receptive field and its choice of a scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mamkpd_jax.errors import UserError
from mamkpd_jax.model.ss2d import SS2D


def _ss2d(dim: int = 40, d_state: int = 3) -> SS2D:
    return SS2D(dim, d_state=d_state, scan=None, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))


def test_initial_parameters():
    layer = _ss2d()
    delta = np.asarray(jax.nn.softplus(layer.dt_bias[...]))
    assert delta.shape == (4, 40) and 1e-3 <= delta.min() and delta.max() <= 1e-1
    assert np.log10(delta).mean() == pytest.approx(-2, abs=0.15), "log-uniform from 1e-3 to 1e-1"
    np.testing.assert_allclose(np.exp(layer.A_log[...]), np.broadcast_to([1, 2, 3], (4, 40, 3)), rtol=1e-6)
    np.testing.assert_array_equal(layer.D[...], 1)
    assert layer.x_proj.shape == (40, 4, 3 + 2 * 3), "rank ceil(40 / 16) = 3, B and C of 3 states"


def test_a_position_depends_on_all_others():
    layer = _ss2d()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 5, 40)), jnp.float32)
    gradient = jax.jit(jax.grad(lambda x: layer(x)[0, 2, 3].sum()))(x)
    assert (np.abs(gradient[0]).max(axis=-1) > 0).all()


def test_the_named_scan_is_used():
    layer = SS2D(8, d_state=1, scan="no_such_scan", dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))
    with pytest.raises(UserError, match="no_such_scan"):
        layer(jnp.zeros((1, 2, 2, 8)))
