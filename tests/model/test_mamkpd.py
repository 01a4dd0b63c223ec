"""The assembled network: sizes of all variants, shapes, precision, stochastic depth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mamkpd_jax.config import Config, ModelConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.model.mamkpd import VARIANTS, MamKPD, ParamKeys, abstract, normalize, variant
from mamkpd_jax.skeletons import COCO

NARROW = dict(depths=(1, 1), dims=(8, 16), decoder_dim=8)


def _crops(b: int = 2, hw: tuple[int, int] = (64, 48)) -> jax.Array:
    return normalize(jnp.asarray(np.random.default_rng(0).integers(0, 256, (b, *hw, 3)), jnp.uint8))


@pytest.mark.parametrize("name", VARIANTS)
def test_heatmaps_of_a_256x192_crop(name):
    model = abstract(Config(model=variant(name)), COCO)
    heatmaps = nnx.eval_shape(lambda m: m(jnp.zeros((1, 256, 192, 3))), model)
    # Row b of table 5 has a fourth stage: its features have stride 32, its heatmaps stride 8.
    assert heatmaps.shape == ((1, 32, 24, 17) if name == "ablation_b" else (1, 64, 48, 17))
    assert heatmaps.dtype == jnp.float32


@pytest.mark.parametrize(
    ("stem", "downsampling"),
    [
        (True, "cmm"),
        pytest.param(False, "cmm", marks=pytest.mark.slow),
        pytest.param(False, "conv", marks=pytest.mark.slow),
        (False, "merging"),
    ],
)
def test_every_parameter_has_a_gradient(stem, downsampling):
    config = ModelConfig(stem=stem, depths=(1, 1), dims=(8, 16), decoder_dim=8, downsampling=downsampling, d_state=2)
    model = MamKPD(Config(model=config), COCO, rngs=nnx.Rngs(0))
    model.train()
    loss = lambda m: jnp.sum(jnp.square(m(_crops()) - 1))  # noqa: E731
    gradients = nnx.to_pure_dict(nnx.jit(nnx.grad(loss))(model))
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


def test_bfloat16_activations_keep_the_heatmaps():
    heatmaps = {}
    for dtype in ("float32", "bfloat16"):
        model = MamKPD(Config(model=ModelConfig(**NARROW, dtype=dtype)), COCO, rngs=nnx.Rngs(0))
        assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))} == {jnp.dtype("float32")}
        model.train()
        heatmaps[dtype] = nnx.jit(lambda m: m(_crops()))(model)
        assert heatmaps[dtype].dtype == jnp.float32
    scale = np.abs(heatmaps["float32"]).max()
    difference = np.abs(heatmaps["bfloat16"] - heatmaps["float32"]).max() / scale
    assert 0 < difference < 0.05


def test_paths_are_dropped_only_with_keys():
    model = MamKPD(Config(model=ModelConfig(**NARROW, drop_path=0.9)), COCO, rngs=nnx.Rngs(0))
    model.eval()
    forward = nnx.jit(lambda m, rngs: m(_crops(), rngs))
    plain = forward(model, None)
    np.testing.assert_array_equal(plain, forward(model, None))
    assert np.abs(forward(model, nnx.Rngs(drop_path=1)) - plain).max() > 0


def test_normalize_uses_imagenets_statistics():
    image = jnp.asarray([[[[124, 116, 104], [0, 255, 10]]]], jnp.uint8)
    expected = (np.asarray(image, np.float64) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(normalize(image), expected, atol=1e-5)


def test_a_scan_for_another_device_is_refused():
    with pytest.raises(UserError, match="config.model.scan is 'pallas_triton', which runs on cuda alone, and this is"):
        abstract(Config(model=ModelConfig(scan="pallas_triton")), COCO)


def test_parameter_keys_equal_nnx_keys():
    config = ModelConfig(depths=(1, 1), dims=(8, 16), decoder_dim=8)
    ours, theirs = (MamKPD(Config(model=config), COCO, rngs=rngs) for rngs in (ParamKeys(3), nnx.Rngs(params=3)))
    for a, b in zip(*(jax.tree.leaves(nnx.state(model)) for model in (ours, theirs)), strict=True):
        np.testing.assert_array_equal(a, b)
