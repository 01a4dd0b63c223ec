"""Feature maps come from the right parts of the model, and the plot shows each in its place."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mamkpd_jax.model.mamkpd import abstract, normalize
from mamkpd_jax.skeletons import COCO

pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")

from mamkpd_jax.plots.features import feature_maps, features, row


@pytest.fixture(scope="module")
def rows(config, random_weights):
    """The rows of a model with stem and CMM, and of one without either."""
    crop = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    models = (
        dataclasses.replace(config.model, stem=True),
        dataclasses.replace(config.model, stem=False, downsampling="conv"),
    )
    weights = [random_weights(dataclasses.replace(config, model=model)) for model in models]
    return [row(name, w, crop) for name, w in zip("ab", weights, strict=True)]


def test_each_part_has_a_map_at_its_stride(rows):
    shapes = [{name: x.shape for name, x in row.maps.items()} for row in rows]
    stages = {"stage 1": (16, 12), "stage 2": (8, 6)}
    assert shapes == [{"stem": (32, 24), **stages}, stages]
    assert all(np.ptp(x) > 0 for row in rows for x in row.maps.values())


def test_last_map_is_distance_from_mean_features(config, random_weights):
    weights = random_weights(config)
    graphdef = nnx.graphdef(abstract(config, COCO))
    model = nnx.merge(graphdef, *jax.tree.map(jnp.asarray, (weights.params, weights.batch_stats)))
    model.eval()
    crop = np.random.default_rng(1).integers(0, 256, (64, 48, 3), np.uint8)
    x = np.asarray(jax.jit(lambda image: model.encoder(normalize(image[None]))[0])(crop)).reshape(48, -1)
    expected = np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1)).reshape(8, 6)
    np.testing.assert_allclose(feature_maps(weights, crop)["stage 2"], expected, rtol=1e-4)


def test_figure_has_one_row_per_model(rows):
    figure = features(rows)
    grid = np.reshape(np.array(figure.axes, object), (2, 4))
    assert [axes.get_title() for axes in grid[0]] == ["crop", "stem", "stage 1", "stage 2"]
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["a\nwith CMM", "b\nwithout CMM"]
    assert [[len(axes.get_images()) for axes in line] for line in grid] == [[1, 1, 1, 1], [1, 0, 1, 1]]
    np.testing.assert_array_equal(grid[1, 3].get_images()[0].get_array(), rows[1].maps["stage 2"])


def test_long_name_wraps_within_its_row(config, random_weights):
    model = dataclasses.replace(config.model, downsampling="merging")
    weights = random_weights(dataclasses.replace(config, model=model))
    crop = np.zeros((64, 48, 3), np.uint8)
    figure = features([row("runs/" + 60 * "a", weights, crop)])
    figure.draw_without_rendering()
    label, axes = figure.axes[0].yaxis.label.get_window_extent(), figure.axes[0].get_window_extent()
    assert label.height <= axes.height
