"""Runs that start from other weights."""

import jax
import numpy as np
import pytest

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.commands.train import train
from mamkpd_jax.config import Config, ModelConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.heads.heatmap import HeatmapHead
from mamkpd_jax.sharding import training_mesh
from mamkpd_jax.skeletons import COCO
from mamkpd_jax.training.finetune import start_from
from mamkpd_jax.training.optimizer import optimizer
from mamkpd_jax.training.state import TrainState, create_state
from tests.joints import skeleton_of


def state(n_joints: int, seed: int, width: int = 8) -> TrainState:
    config = Config(model=ModelConfig(stem=False, depths=(1,), dims=(width,), decoder_dim=8), seed=seed)
    config.optim.ema_decay = 0.9
    return create_state(config, skeleton_of(n_joints), optimizer(config.optim, 1), training_mesh())


def _artifact(trained: TrainState) -> Artifact:
    arrays = jax.tree.map(np.asarray, {"params": trained.params, "batch_stats": trained.batch_stats})
    return Artifact(config=Config(), skeleton=COCO, step=0, **arrays)


def test_other_joints_make_only_the_head_new(caplog):
    caplog.set_level("INFO", logger="absl")
    before, start = state(5, seed=1), state(7, seed=2)
    tuned = start_from(start, _artifact(before), "runs/before", HeatmapHead.joint_layers)
    assert "the last layer is reinitialised: runs/before has other joints" in caplog.text
    head, fresh = tuned.params["decoder"].pop("head"), start.params["decoder"].pop("head")
    np.testing.assert_array_equal(head["kernel"], fresh["kernel"])
    assert head["kernel"].shape[-1] == 7
    del before.params["decoder"]["head"], tuned.ema["decoder"]["head"]
    for ours in (tuned.params, tuned.ema):
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(before.params), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_same_joints_keep_the_head(caplog):
    caplog.set_level("INFO", logger="absl")
    before, start = state(5, seed=1), state(5, seed=2)
    tuned = start_from(start, _artifact(before), "runs/before", HeatmapHead.joint_layers)
    assert "reinitialised" not in caplog.text
    for a, b in zip(jax.tree.leaves(tuned.params), jax.tree.leaves(before.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_model_is_refused_with_its_layers():
    wide = state(5, seed=1, width=16)
    with pytest.raises(
        UserError, match=r"runs/wide is of another model, it differs in decoder.deconvs.0.kernel, .* more"
    ):
        start_from(state(5, seed=2), _artifact(wide), "runs/wide", HeatmapHead.joint_layers)


def test_a_wrong_start_is_refused_before_the_data(tiny, tmp_path):
    tiny.init_from, tiny.data.root = "people", "/nowhere"
    with pytest.raises(UserError, match="config.init_from: people is of another model, it differs in decoder"):
        train(tiny, tmp_path / "new")
    tiny.model, tiny.data.input_hw = read_artifact("people").config.model, (128, 96)
    with pytest.raises(UserError, match="/nowhere does not exist"):
        train(tiny, tmp_path / "new")
