"""Registries: names are the modules of a package, and listing them imports none of them."""

import subprocess
import sys

import pytest

from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import DATASETS, METRICS
from mamkpd_jax.skeletons import AP10K, COCO, MPII


def test_a_config_is_checked_without_tensorflow_datasets():
    code = "import sys; from mamkpd_jax.config import Config; Config().validate(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "mamkpd_jax.config" in done.stdout and "tensorflow_datasets" not in done.stdout, done.stderr


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="config.data.dataset is 'coco'; expected one of ap10k, coco_key"):
        Config(data=DataConfig(dataset="coco")).validate()


@pytest.mark.parametrize(
    ("name", "skeleton"),
    [("ap10k", AP10K), ("coco_keypoints", COCO), ("custom_coco", None), ("mpii", MPII), ("synthetic_people", COCO)],
)
def test_data_sets_know_their_skeletons(name, skeleton):
    assert DATASETS[name].known_skeleton(DataConfig()) is skeleton


def test_a_custom_data_set_takes_the_named_skeleton():
    assert DATASETS["custom_coco"].known_skeleton(DataConfig(skeleton="coco")) is COCO


@pytest.mark.parametrize("name", ["oks", "torso@0.2", "", "pcks_torso@0.2"])
def test_an_unknown_metric_is_refused_with_the_config(name):
    Config(eval=EvalConfig(metrics=("coco", "pck_torso@0.2"))).validate()
    with pytest.raises(
        UserError, match=f"config.eval.metrics is '{name}'; expected one of {', '.join(METRICS.names())}$"
    ):
        Config(eval=EvalConfig(metrics=("coco", name))).validate()
