"""The loader's bench takes real steps of the loader."""

import numpy as np

from mamkpd_jax.bench.pipeline import items
from mamkpd_jax.data.pipeline import LoadCrop
from mamkpd_jax.data.transforms import PRESETS, TopDownCrop
from mamkpd_jax.skeletons import COCO


def test_items_are_people_that_load():
    people = items()
    assert len(people) >= 16
    load = LoadCrop(TopDownCrop(input_hw=(256, 192), skeleton=COCO, augmentation=PRESETS["mmpose"]))
    example = load(people[0], np.random.default_rng(0))
    assert not example["damaged"] and example["image"].shape == (256, 192, 3) and example["image"].any()
