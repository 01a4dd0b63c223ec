"""The benchmark of the loader uses loadable items and notices late batches."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from mamkpd_jax.bench.people import items
from mamkpd_jax.bench.programs import pipeline
from mamkpd_jax.data.pipeline import LoadCrop
from mamkpd_jax.data.transforms import PRESETS, TopDownCrop
from mamkpd_jax.skeletons import COCO


def test_items_can_be_loaded():
    people = items()
    assert len(people) >= 16
    load = LoadCrop(TopDownCrop(input_hw=(256, 192), skeleton=COCO, augmentation=PRESETS["mmpose"]))
    example = load(people[0], np.random.default_rng(0))
    assert not example["damaged"] and example["image"].shape == (256, 192, 3) and example["image"].any()


def test_late_batch_at_epoch_start_is_reported(monkeypatch):
    clock_s = itertools.accumulate(0.08 if i % 6 == 0 else 0.01 for i in range(100))
    monkeypatch.setattr(pipeline, "time", SimpleNamespace(perf_counter=lambda: next(clock_s)))
    found = pipeline.loader_times(itertools.count(), batch=32, epoch_batches=6, epochs=2)
    assert found["batch_at_epoch_start_ms"] > 1.2 * found["batch_ms"]
    assert found["latest_at_epoch_start_ms"] == found["latest_ms"] == pytest.approx(80)
    assert found["images_per_s"] == pytest.approx(32e3 / found["batch_ms"])
