"""The learning rate of MamKPD sec. 4.1, gradient clipping and weight decay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mamkpd_jax.config import Config, ModelConfig, OptimConfig
from mamkpd_jax.model.mamkpd import abstract, split
from mamkpd_jax.skeletons import COCO
from mamkpd_jax.training.optimizer import learning_rate, optimizer

STEPS = 1000  # an epoch


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-6),
        (250, 1e-3 * (0.001 + 0.999 / 2)),
        (500, 1e-3),
        (169 * STEPS + 999, 1e-3),
        (170 * STEPS, 1e-4),
        (200 * STEPS - 1, 1e-4),
        (200 * STEPS, 1e-5),
        (210 * STEPS, 1e-5),
    ],
)
def test_learning_rate(step, expected):
    # An absolute tolerance too, because fp32 rounds the warm-up's 1 - 0.999.
    assert float(learning_rate(OptimConfig(), STEPS)(step)) == pytest.approx(expected, rel=1e-5, abs=1e-10)


def test_the_rate_depends_only_on_the_step():
    schedule = learning_rate(OptimConfig(epochs=4, decay_epochs=(2, 3), warmup_steps=0), 10)
    assert [round(float(schedule(step)), 7) for step in (0, 19, 20, 29, 30)] == [1e-3, 1e-3, 1e-4, 1e-4, 1e-5]


def test_gradients_are_clipped_by_their_global_norm():
    """Checks Adam's first moment, because its first step doesn't depend on the gradient's scale."""
    transformation = optimizer(OptimConfig(clip_norm=1.0), STEPS)
    params = {"a": jnp.zeros(3), "b": jnp.zeros(4)}
    gradients = {"a": jnp.full(3, 30.0), "b": jnp.full(4, -40.0)}
    _, state = transformation.update(gradients, transformation.init(params), params)
    first_moment = optax.tree.get(state, "mu")
    assert float(optax.tree.norm(first_moment)) == pytest.approx(0.1, rel=1e-5)
    np.testing.assert_allclose(first_moment["a"][0] / first_moment["b"][0], -0.75, rtol=1e-5)


def test_adamw_decays_only_kernels():
    """The gradients are 0, so that only the decay moves a parameter."""
    model = abstract(Config(model=ModelConfig(depths=(1,), dims=(8,), decoder_dim=8)), COCO)
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), split(model)[1])
    transformation = optimizer(OptimConfig(optimizer="adamw", weight_decay=1.0, warmup_steps=0), STEPS)
    gradients = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(transformation.update)(gradients, transformation.init(params), params)
    decayed, kept = set(), set()
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        (decayed if update.any() else kept).add(path[-1].key)
    assert decayed == {"kernel", "x_proj", "dt_weight"} and kept == {"A_log", "D", "dt_bias", "bias", "scale"}
