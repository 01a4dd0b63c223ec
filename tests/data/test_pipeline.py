"""Batches: the same for any number of workers, random by (seed, epoch, example) alone, damaged images left out."""

import itertools

import cv2
import numpy as np
import pytest

from mamkpd_jax.config import Config, DataConfig, OptimConfig
from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.coco_keypoints import CocoKeypoints
from mamkpd_jax.data.pipeline import DamageGuard, eval_batches, train_batches
from mamkpd_jax.data.source import InstanceSource
from mamkpd_jax.data.transforms import PRESETS, TopDownCrop
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import COCO

INPUT_HW = (64, 48)
CROP = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO)
TRAIN_CROP = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO, augmentation=PRESETS["mmpose"])


@pytest.fixture(scope="module")
def train(shared_data, tmp_path_factory) -> InstanceSource:
    return InstanceSource(prepare(CocoKeypoints(shared_data / "coco", tmp_path_factory.mktemp("build"))), "train")


class _Few:
    """The first instance of each of the first images, so that images tell instances and epochs are short."""

    def __init__(self, source: InstanceSource, n: int, damaged: tuple[int, ...] = ()):
        firsts: dict[int, int] = {}
        for index in range(len(source)):
            firsts.setdefault(source[index]["image_id"], index)
        self._source, self._indices, self._damaged = source, list(firsts.values())[:n], damaged
        self.image_ids = list(firsts)[:n]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict:
        item = self._source[self._indices[index]]
        # What the builder can't see: the markers of a JPEG at both ends, and nothing that can be decoded between.
        return item | {"image": b"\xff\xd8" + b"\0" * 5000 + b"\xff\xd9"} if index in self._damaged else item


def _batches(source, n: int, *, batch_size: int, workers: int = 0, seed: int = 0) -> list[dict[str, np.ndarray]]:
    data = DataConfig(input_hw=INPUT_HW, workers=workers)
    config = Config(data=data, optim=OptimConfig(batch_size=batch_size), seed=seed)
    return list(itertools.islice(train_batches(source, TRAIN_CROP, config), n))


def _matrices(batches: list[dict[str, np.ndarray]]) -> dict[int, np.ndarray]:
    """The crop that each instance got, by image."""
    return {int(i): matrix for b in batches for i, matrix in zip(b["image_id"], b["matrix"], strict=True)}


def _same(a: dict[int, np.ndarray], b: dict[int, np.ndarray]) -> int:
    """How many instances got the same crop in both."""
    return sum(np.array_equal(a[i], b[i]) for i in a.keys() & b.keys())


def test_workers_do_not_change_the_batches(train):
    alone, shared = (_batches(_Few(train, 12), 6, batch_size=4, workers=workers) for workers in (0, 2))
    for a, b in zip(alone, shared, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


class _Threads(_Few):
    """Its items tell, as their score, how many threads OpenCV has where they are read."""

    def __getitem__(self, index: int) -> dict:
        return super().__getitem__(index) | {"score": float(cv2.getNumThreads())}


def test_a_worker_has_one_thread_of_opencv(train):
    (batch,) = _batches(_Threads(train, 4), 1, batch_size=4, workers=1)
    assert batch["score"].tolist() == [1.0] * 4


def test_an_example_is_random_by_seed_and_epoch_alone(train):
    source = _Few(train, 12)
    first, second, third = np.split(np.array(_batches(source, 9, batch_size=4)), 3)
    epochs = [_matrices(list(epoch)) for epoch in (first, second, third)]
    assert all(epoch.keys() == set(source.image_ids) for epoch in epochs), "each example once an epoch"
    other_batches = _batches(source, 4, batch_size=6)
    assert _same(epochs[0], _matrices(other_batches[:2])) == 12
    assert _same(epochs[1], _matrices(other_batches[2:])) == 12
    assert _same(epochs[0], epochs[1]) == _same(epochs[1], epochs[2]) == 0
    assert _same(epochs[0], _matrices(_batches(source, 3, batch_size=4, seed=1))) == 0


def test_epochs_are_shuffled_and_drop_what_fills_no_batch(train):
    batches = _batches(_Few(train, 12), 6, batch_size=5)  # two batches an epoch, two examples dropped
    orders = [[int(i) for batch in batches[e : e + 2] for i in batch["image_id"]] for e in (0, 2, 4)]
    assert all(len(set(order)) == 10 for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_evaluation_takes_every_item_once_in_order_and_pads(train):
    source = _Few(train, 5)
    batches = list(eval_batches(source, CROP, 4))
    assert [len(batch["image"]) for batch in batches] == [4, 4]
    ids = np.concatenate([batch["image_id"] for batch in batches])
    assert ids.tolist() == [*source.image_ids, *[source.image_ids[4]] * 3]


def test_a_damaged_image_is_black_unlabelled_and_marked(train):
    source = _Few(train, 4, damaged=(2,))
    (batch,) = eval_batches(source, CROP, 4)
    assert batch["damaged"].tolist() == [False, False, True, False]
    assert not batch["image"][2].any() and not batch["visible"][2].any()
    assert batch["visible"][[0, 1, 3]].any(axis=1).all()


def test_a_damaged_image_is_named_once_and_counted(train, caplog):
    (batch,) = eval_batches(_Few(train, 4, damaged=(2,)), CROP, 4)
    guard = DamageGuard(n_images=100)
    with caplog.at_level("WARNING", logger="absl"):
        guard.check(batch)
        guard.check(batch)
    assert [record.getMessage() for record in caplog.records] == [
        f"image {batch['file_name'][2]} can't be decoded; it is skipped (1 so far)"
    ]


def test_more_than_one_percent_damaged_stops(train):
    (batch,) = eval_batches(_Few(train, 4, damaged=(0, 2)), CROP, 4)
    DamageGuard(n_images=200).check(batch)
    with pytest.raises(UserError, match=r"2 of 199 images can't be decoded, more than 1%, the last 0\d+.jpg; copy"):
        DamageGuard(n_images=199).check(batch)
