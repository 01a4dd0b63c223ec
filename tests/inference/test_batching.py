"""Crops of many threads run in shared batches, on a tiny model."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.inference.conftest import BATCH

WAIT_S = 0.5


@pytest.fixture(scope="module")
def crops(predictor, pictures):
    """The crops of the 14 people in the four pictures."""
    return np.concatenate([predictor.crops(*picture).images for picture in pictures])


@pytest.fixture
def sizes():
    """The sizes of the batches that were sent to the device."""
    return []


@pytest.fixture
def batcher(predictor, sizes):
    """A batcher whose crops wait half a second for others."""
    batcher = predictor.batcher(max_wait_ms=WAIT_S * 1e3, observe=sizes.append)
    yield batcher
    batcher.close()


def _results(futures):
    return [future.result(timeout=30) for future in futures]


def test_threads_get_the_same_points_as_predictor(batcher, predictor, pictures):
    files, boxes = zip(*pictures, strict=True)

    def points(i):
        cut = predictor.crops(files[i], boxes[i])
        found = _results(batcher.submit(cut.images))
        return predictor.result(cut, [(each.points, each.scores) for each in found]).keypoints

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(points, [0, 1, 2, 3] * 8))
    expected = [result.keypoints for result in predictor(files, boxes)]
    for i, keypoints in enumerate(found):
        np.testing.assert_allclose(keypoints, expected[i % 4], atol=1e-3)


def test_a_full_batch_runs_at_once(batcher, crops, sizes):
    start = time.monotonic()
    _results([*batcher.submit(crops[:1]), *batcher.submit(crops[1:BATCH])])
    assert sizes == [BATCH] and time.monotonic() - start < WAIT_S


def test_many_crops_are_split_into_batches(batcher, crops, sizes):
    futures = batcher.submit(crops[: 2 * BATCH + 1])
    start = time.monotonic()
    _results(futures[: 2 * BATCH])
    assert sizes == [BATCH, BATCH] and time.monotonic() - start < WAIT_S
    _results(futures[-1:])
    assert sizes == [BATCH, BATCH, 1] and batcher.waiting == 0


def test_a_crop_runs_at_its_deadline(batcher, crops, sizes):
    start = time.monotonic()
    _results(batcher.submit(crops[:1]))
    assert WAIT_S <= time.monotonic() - start < 2 * WAIT_S and sizes == [1]


def test_a_cancelled_crop_never_runs(batcher, crops, sizes):
    first, second = batcher.submit(crops[:2])
    assert first.cancel()
    second.result(timeout=30)
    assert sizes == [1]


def test_heatmaps_are_returned_on_request(batcher, predictor, pictures):
    path, boxes = pictures[0]
    images = predictor.crops(path, boxes).images
    plain, with_maps = batcher.submit(images[:1]), batcher.submit(images, maps=True)
    assert _results(plain)[0].maps is None
    expected = predictor.heatmaps(path, boxes).heatmaps[: len(images)]
    np.testing.assert_allclose([found.maps for found in _results(with_maps)], expected, atol=1e-5)


def test_an_error_affects_only_its_batch(batcher, crops):
    shorter = crops[0, :-1]  # can't be stacked with the others
    futures = [*batcher.submit(crops[: BATCH - 1]), *batcher.submit(shorter[None])]
    for future in futures:
        with pytest.raises(ValueError, match="same shape"):
            future.result(timeout=30)
    assert len(_results(batcher.submit(crops[:BATCH]))) == BATCH


def test_closing_runs_the_waiting_crops(batcher, crops, sizes):
    start = time.monotonic()
    futures = batcher.submit(crops[: BATCH + 1])
    batcher.close()
    assert all(future.done() for future in futures) and time.monotonic() - start < WAIT_S
    assert sizes == [BATCH, 1]
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(crops[:1])


def test_crops_of_threads_share_batches(batcher, crops, sizes):
    barrier = threading.Barrier(2 * BATCH)

    def submit(i):
        barrier.wait()
        return batcher.submit(crops[i : i + 1])[0].result(timeout=30)

    with ThreadPoolExecutor(2 * BATCH) as pool:
        list(pool.map(submit, range(2 * BATCH)))
    assert sizes == [BATCH, BATCH]
