"""The compiled step: gradient accumulation, moving average, non-finite steps, rematerialisation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mamkpd_jax.config import Config, DataConfig, HeatmapConfig, ModelConfig, OptimConfig
from mamkpd_jax.sharding import training_mesh
from mamkpd_jax.training.optimizer import optimizer
from mamkpd_jax.training.state import TrainState, create_state
from mamkpd_jax.training.step import make_train_step, shard_batch
from tests.joints import skeleton_of

N_JOINTS = 5
SKELETON = skeleton_of(N_JOINTS)


def config(n_blocks: int = 1, **optim) -> Config:
    return Config(
        # The first block is never dropped.
        model=ModelConfig(stem=False, depths=(n_blocks,), dims=(8,), decoder_dim=8, drop_path=0.2),
        head=HeatmapConfig(sigma_px=4.0),
        data=DataConfig(input_hw=(16, 16)),
        optim=OptimConfig(batch_size=4, warmup_steps=0, **optim),
    )


def batch(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (4, 16, 16, 3), np.uint8),
        "keypoints": rng.uniform(0, 16, (4, N_JOINTS, 2)).astype(np.float32),
        "visible": np.ones((4, N_JOINTS), np.float32),
    }


def run(config: Config, *batches: dict[str, np.ndarray]) -> tuple[TrainState, list[dict[str, jax.Array]]]:
    mesh = training_mesh(config.fsdp)
    adam = optimizer(config.optim, steps_per_epoch=10)
    state = create_state(config, SKELETON, adam, mesh)
    step = make_train_step(state, adam, config, SKELETON, mesh)
    metrics = []
    for one in batches:
        state, values = step(state, shard_batch(one, mesh))
        metrics.append(values)
    return state, metrics


def largest_difference(a, b) -> float:
    return max(float(jnp.max(jnp.abs(x - y))) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.fixture(scope="module")
def plain():
    return run(config(), batch(0), batch(1))


def test_accumulated_parts_equal_the_batch():
    """All examples are equal, so that each part has the BatchNorm statistics of the whole batch."""
    example = {name: np.repeat(values[:1], 4, axis=0) for name, values in batch(0).items()}
    whole, parts = config(), config(accumulate=2)
    (one, one_metrics), (two, two_metrics) = run(whole, example), run(parts, example)
    assert float(two_metrics[0]["loss"]) == pytest.approx(float(one_metrics[0]["loss"]), rel=1e-5)
    assert float(two_metrics[0]["grad_norm"]) == pytest.approx(float(one_metrics[0]["grad_norm"]), rel=1e-4)
    # The running statistics are updated once per part.
    assert largest_difference(one.batch_stats, two.batch_stats) > 0
    assert largest_difference(one.params, two.params) < 2e-4


def test_the_moving_average_follows_the_parameters(plain):
    """The decay is (1 + t) / (10 + t) in the first steps, and the given one later."""
    state, _ = run(config(ema_decay=0.15), batch(0), batch(1))
    first, _ = run(config(), batch(0))
    start, _ = run(config())
    assert largest_difference(state.params, plain[0].params) == 0

    def expected(start, first, second):
        after_one = 0.1 * start + 0.9 * first
        return 0.15 * after_one + 0.85 * second

    average = jax.tree.map(expected, start.params, first.params, plain[0].params)
    assert largest_difference(state.ema, average) < 1e-6
    assert state.eval_params is state.ema and plain[0].eval_params is plain[0].params


@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_non_finite_step_changes_only_the_count(accumulate, white_is_nan):
    poisoned = batch(1)
    poisoned["image"][2] = 255
    optim = {"accumulate": accumulate, "ema_decay": 0.9}
    before, _ = run(config(**optim), batch(0))
    after, metrics = run(config(**optim), batch(0), poisoned)
    assert not np.isfinite(float(metrics[1]["loss"]))
    assert int(after.step) == 2 and int(before.step) == 1
    for name in ("params", "batch_stats", "opt_state", "ema"):
        assert largest_difference(getattr(before, name), getattr(after, name)) == 0, name


@pytest.mark.slow  # two programs of two blocks
def test_rematerialised_stages_give_the_same_step():
    """Two blocks, because the first one never drops its path."""
    whole, remat = config(2), config(2)
    remat.model.remat_stages = (0,)
    (one, one_metrics), (two, two_metrics) = (run(each, batch(0), batch(1)) for each in (whole, remat))
    assert float(two_metrics[1]["loss"]) == pytest.approx(float(one_metrics[1]["loss"]), rel=1e-6)
    assert largest_difference(two.params, one.params) < 1e-5
    assert largest_difference(two.batch_stats, one.batch_stats) < 1e-5


def test_rate_scales_with_batch_size_on_request():
    optim = OptimConfig(batch_size=512, learning_rate=1e-3)
    assert optim.peak_learning_rate == 1e-3
    assert dataclasses.replace(optim, learning_rate_batch_size=256).peak_learning_rate == pytest.approx(2e-3)
