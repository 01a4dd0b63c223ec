"""The fit of a last layer by least squares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.config import Config
from mamkpd_jax.data.opening import open_dataset
from mamkpd_jax.data.pipeline import train_batches
from mamkpd_jax.heads._head import head_of
from mamkpd_jax.program import Options, program_of
from mamkpd_jax.sharding import training_mesh
from mamkpd_jax.training.last_layer import fit_last_layer
from mamkpd_jax.training.optimizer import optimizer
from mamkpd_jax.training.state import create_state
from tests.joints import skeleton_of


@pytest.fixture
def start(tiny: Config) -> Artifact:
    """An untrained model of five joints."""
    skeleton = skeleton_of(5)
    state = create_state(tiny, skeleton, optimizer(tiny.optim, 1), training_mesh())
    arrays = jax.tree.map(np.asarray, {"params": state.params, "batch_stats": state.batch_stats})
    return Artifact(config=tiny, skeleton=skeleton, step=3, **arrays)


def _error(artifact: Artifact, batch: dict) -> float:
    """The loss of the model's outputs in evaluation mode, without a flip test."""
    head = head_of(artifact.config, artifact.skeleton)
    outputs = program_of(artifact, Options(flip_test=False, decode=False))(batch["image"])
    return float(head.loss(outputs, *head.encode(jnp.asarray(batch["keypoints"]), jnp.asarray(batch["visible"]))))


def _with_layer(artifact: Artifact, change) -> Artifact:
    decoder = artifact.params["decoder"]
    layer = jax.tree.map(change, decoder["head"])
    params = artifact.params | {"decoder": decoder | {"head": layer}}
    return Artifact(
        config=artifact.config, skeleton=artifact.skeleton, step=0, params=params, batch_stats=artifact.batch_stats
    )


def test_no_other_last_layer_fits_better(tiny, start):
    dataset = open_dataset(tiny)
    batch = next(train_batches(dataset.train, dataset.train_crop, tiny))
    batch["visible"][:, 3] = 0  # a joint that is never labelled
    new = fit_last_layer(start, tiny, dataset.skeleton, iter([batch]), 1)
    assert new.skeleton == dataset.skeleton and new.step == 0
    assert new.params["decoder"]["head"]["kernel"].shape == (1, 1, 8, 17)
    np.testing.assert_array_equal(new.params["decoder"]["head"]["kernel"][..., 3], 0)
    least = _error(new, batch)
    for factor in (0.0, 0.9, 1.1):
        assert _error(_with_layer(new, lambda x, factor=factor: factor * x), batch) > least
    rng = np.random.default_rng(0)
    for _ in range(3):
        moved = _with_layer(new, lambda x: (x + rng.normal(0, 0.05, x.shape) * np.abs(x).max()).astype(np.float32))
        assert _error(moved, batch) > least


def test_other_layers_stay_unchanged(tiny, start):
    dataset = open_dataset(tiny)
    batches = train_batches(dataset.train, dataset.train_crop, tiny)
    new = fit_last_layer(start, tiny, dataset.skeleton, batches, 2)
    for tree, old in ((new.params, start.params), (new.batch_stats, start.batch_stats)):
        tree["decoder"].pop("head", None), old["decoder"].pop("head", None)
        assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), tree, old))
