"""Tests of the batches: independent of the number of workers, random by seed and epoch, without damaged images."""

import itertools

import cv2
import numpy as np
import pytest

from mamkpd_jax.config import Config, DataConfig, OptimConfig
from mamkpd_jax.data.annotation_files import SplitBox
from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.coco_keypoints import CocoKeypoints
from mamkpd_jax.data.pipeline import DamageGuard, LoadCrop, eval_batches, train_batches
from mamkpd_jax.data.source import InstanceSource
from mamkpd_jax.data.transforms import PRESETS, TopDownCrop
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import COCO
from tests.data.places import data_at

INPUT_HW = (64, 48)
CROP = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO)
# The builder accepts these bytes: they have a JPEG's markers at both ends, but nothing to decode between them.
DAMAGED = b"\xff\xd8" + b"\0" * 5000 + b"\xff\xd9"
TRAIN_CROP = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO, augmentation=PRESETS["mmpose"])


@pytest.fixture(scope="module")
def train(shared_data, tmp_path_factory) -> InstanceSource:
    return InstanceSource(
        prepare(CocoKeypoints(data_at(shared_data / "coco", tmp_path_factory.mktemp("build")))), "train"
    )


class _FewInstances:
    """A source with the first instance of each of n images. An image identifies its instance, and epochs are short."""

    def __init__(self, source: InstanceSource, n: int):
        firsts: dict[int, int] = {}
        for index in range(len(source)):
            firsts.setdefault(source[index]["image_id"], index)
        self._source, self._indices = source, list(firsts.values())[:n]
        self.image_ids = list(firsts)[:n]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict:
        return self._source[self._indices[index]]


def _batches(source, n: int, *, batch_size: int, workers: int = 0, seed: int = 0) -> list[dict[str, np.ndarray]]:
    data = DataConfig(input_hw=INPUT_HW, workers=workers)
    config = Config(data=data, optim=OptimConfig(batch_size=batch_size), seed=seed)
    return list(itertools.islice(train_batches(source, TRAIN_CROP, config), n))


def _matrices(batches: list[dict[str, np.ndarray]]) -> dict[int, np.ndarray]:
    """The matrix of each instance's crop, by image id."""
    return {int(i): matrix for b in batches for i, matrix in zip(b["image_id"], b["matrix"], strict=True)}


def _n_equal(a: dict[int, np.ndarray], b: dict[int, np.ndarray]) -> int:
    """The number of instances that have the same crop in both."""
    return sum(np.array_equal(a[i], b[i]) for i in a.keys() & b.keys())


def test_workers_do_not_change_the_batches(train):
    alone, shared = (_batches(_FewInstances(train, 12), 6, batch_size=4, workers=workers) for workers in (0, 2))
    for a, b in zip(alone, shared, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


class _ThreadCounts(_FewInstances):
    """A source that stores the number of OpenCV's threads in the reading process as each item's score."""

    def __getitem__(self, index: int) -> dict:
        return super().__getitem__(index) | {"score": float(cv2.getNumThreads())}


def test_workers_use_one_opencv_thread(train):
    (batch,) = _batches(_ThreadCounts(train, 4), 1, batch_size=4, workers=1)
    assert batch["score"].tolist() == [1.0] * 4


def test_crops_depend_on_seed_and_epoch_only(train):
    source = _FewInstances(train, 12)
    first, second, third = np.split(np.array(_batches(source, 9, batch_size=4)), 3)
    epochs = [_matrices(list(epoch)) for epoch in (first, second, third)]
    assert all(epoch.keys() == set(source.image_ids) for epoch in epochs), "each example once an epoch"
    other_batches = _batches(source, 4, batch_size=6)
    assert _n_equal(epochs[0], _matrices(other_batches[:2])) == 12
    assert _n_equal(epochs[1], _matrices(other_batches[2:])) == 12
    assert _n_equal(epochs[0], epochs[1]) == _n_equal(epochs[1], epochs[2]) == 0
    assert _n_equal(epochs[0], _matrices(_batches(source, 3, batch_size=4, seed=1))) == 0


def test_epochs_are_shuffled_without_incomplete_batches(train):
    batches = _batches(_FewInstances(train, 12), 6, batch_size=5)  # two batches an epoch, two examples dropped
    orders = [[int(i) for batch in batches[e : e + 2] for i in batch["image_id"]] for e in (0, 2, 4)]
    assert all(len(set(order)) == 10 for order in orders)
    assert orders[0] != orders[1] != orders[2]


class _DamagedSource(InstanceSource):
    """A source in which some images can't be decoded."""

    def __init__(self, source: InstanceSource, *damaged: int):
        self._source, self._damaged = source, damaged

    def image(self, record: int) -> dict:
        content = self._source.image(record)
        return content | {"image": DAMAGED} if record in self._damaged else content


@pytest.fixture(scope="module")
def boxes(train) -> list[SplitBox]:
    return [box for box in train.boxes() if box.record < 10]


def test_evaluation_crops_every_box_once_and_pads(train, boxes):
    batches = list(eval_batches(train, boxes, CROP, 4, DamageGuard(train.n_images)))
    assert [len(batch.images) for batch in batches] == [4] * len(batches)
    assert np.concatenate([batch.rows for batch in batches]).tolist() == list(range(len(boxes)))
    for batch in batches:
        examples = [LoadCrop(CROP)(train[int(row)]) for row in batch.rows]
        np.testing.assert_array_equal(batch.images[: len(examples)], [example["image"] for example in examples])
        np.testing.assert_array_equal(batch.matrices, [example["matrix"] for example in examples])
    last = batches[-1]
    assert len(last.rows) < 4 and (last.images[len(last.rows) :] == last.images[0]).all()


def test_parts_of_an_evaluation_share_no_image(train, boxes):
    rows = [
        [
            row
            for batch in eval_batches(train, boxes, CROP, 4, DamageGuard(train.n_images), (i, 3))
            for row in batch.rows
        ]
        for i in range(3)
    ]
    assert sorted(sum(rows, [])) == list(range(len(boxes)))
    assert [{int(record) % 3 for record in _image_ranks(boxes)[part]} for part in rows] == [{0}, {1}, {2}]


def _image_ranks(boxes: list[SplitBox]) -> np.ndarray:
    """For each box, the index of its image among the images with boxes."""
    return np.unique([box.record for box in boxes], return_inverse=True)[1]


def test_boxes_of_damaged_images_are_left_out(train, boxes, caplog):
    damaged = np.array([box.record == 2 for box in boxes])
    assert damaged.any()
    with caplog.at_level("WARNING", logger="absl"):
        batches = list(eval_batches(_DamagedSource(train, 2), boxes, CROP, 4, DamageGuard(n_images=100)))
    assert np.concatenate([batch.rows for batch in batches]).tolist() == np.flatnonzero(~damaged).tolist()
    assert [record.getMessage() for record in caplog.records] == [
        f"image {train.image(2)['file_name']} can't be decoded; it is skipped (1 so far)"
    ]


def test_damaged_training_images_are_black_and_unlabelled(train):
    example = LoadCrop(CROP)(train[0] | {"image": DAMAGED})
    assert example["damaged"] and not example["image"].any() and not example["visible"].any()
    assert LoadCrop(CROP)(train[0])["visible"].any()


def test_a_damaged_image_is_logged_once(caplog):
    batch = {"file_name": np.array(["a.jpg", "b.jpg", "b.jpg"]), "damaged": np.array([False, True, True])}
    guard = DamageGuard(n_images=100)
    with caplog.at_level("WARNING", logger="absl"):
        guard.check(batch)
        guard.check(batch)
    assert [record.getMessage() for record in caplog.records] == [
        "image b.jpg can't be decoded; it is skipped (1 so far)"
    ]


def test_more_than_one_percent_damaged_stops():
    DamageGuard(n_images=200).count(["1.jpg", "2.jpg"])
    with pytest.raises(UserError, match=r"2 of 199 images can't be decoded, more than 1%, the last 2.jpg; copy"):
        DamageGuard(n_images=199).count(["1.jpg", "2.jpg"])
