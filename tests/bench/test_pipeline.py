"""The loader's bench takes real steps of the loader."""

import time

import numpy as np
import pytest

from mamkpd_jax.bench.pipeline import items, loader_times
from mamkpd_jax.data.pipeline import LoadCrop
from mamkpd_jax.data.transforms import PRESETS, TopDownCrop
from mamkpd_jax.skeletons import COCO


def test_items_are_people_that_load():
    people = items()
    assert len(people) >= 16
    load = LoadCrop(TopDownCrop(input_hw=(256, 192), skeleton=COCO, augmentation=PRESETS["mmpose"]))
    example = load(people[0], np.random.default_rng(0))
    assert not example["damaged"] and example["image"].shape == (256, 192, 3) and example["image"].any()


def test_a_late_batch_at_the_start_of_an_epoch_is_seen():
    def batches():
        for i in range(100):
            time.sleep(0.08 if i % 6 == 0 else 0.01)
            yield i

    found = loader_times(batches(), batch=32, epoch_batches=6, epochs=2)
    assert found["batch_at_epoch_start_ms"] > 1.2 * found["batch_ms"]
    assert found["latest_at_epoch_start_ms"] == found["latest_ms"] > 80
    assert found["images_per_s"] == pytest.approx(32e3 / found["batch_ms"])
