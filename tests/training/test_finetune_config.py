"""The config for a data set and starting weights."""

import pytest

from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.data.opening import open_dataset
from mamkpd_jax.skeletons import ANIMALPOSE, AP10K, COCO, LSPET
from mamkpd_jax.training.finetune_config import finetune_config, start_name
from tests.joints import skeleton_of


@pytest.mark.parametrize(
    ("skeleton", "name"),
    [(COCO, "people"), (LSPET, "people"), (skeleton_of(3), "people"), (AP10K, "animals"), (ANIMALPOSE, "animals")],
)
def test_keypoints_choose_the_shipped_model(skeleton, name):
    assert start_name(skeleton) == name


def test_network_and_crops_come_from_the_start(tiny):
    start, dataset = read_artifact("people"), open_dataset(tiny)
    config = finetune_config(tiny.data, dataset, start, "start.safetensors", 9, n_devices=1)
    config.validate()
    assert config.model.dims == start.config.model.dims and config.data.input_hw == start.config.data.input_hw
    assert config.init_from == "start.safetensors" and config.data.root == tiny.data.root
    assert (config.optim.batch_size, config.optim.epochs) == (12, 9), "twelve instances are one batch"


@pytest.mark.parametrize(
    ("steps", "decays", "warmup"), [(1, (), 0), (5, (4,), 0), (1000, (700, 900), 50), (0, (1680, 2160), 50)]
)
def test_decays_and_warm_up_fit_the_steps(steps, decays, warmup, tiny):
    optim = finetune_config(tiny.data, open_dataset(tiny), None, "", steps, n_devices=1).optim
    assert (optim.epochs, optim.decay_epochs, optim.warmup_steps) == (steps or 2400, decays, warmup)


def test_devices_divide_the_batch(tiny):
    config = finetune_config(tiny.data, open_dataset(tiny), None, "", 9, n_devices=8)
    config.validate()
    assert config.optim.batch_size == 8 and config.eval.batch_size % 8 == 0


def test_crops_fit_the_boxes_without_a_start(tiny):
    dataset = open_dataset(tiny)
    config = finetune_config(tiny.data, dataset, None, "", 9, n_devices=1)
    config.validate()
    assert config.data.input_hw[0] > config.data.input_hw[1], "persons stand"
