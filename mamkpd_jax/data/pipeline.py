"""Makes batches from a built data set: grain shuffles, decodes, augments and batches.

A training batch is a dict of numpy arrays with a leading axis for the instances. The augmentation of an instance
depends only on the seed, the epoch and the instance, not on the number of workers. Evaluation iterates over images, so
that each is decoded once.
"""

import dataclasses
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import grain
import numpy as np
from absl import logging
from jaxtyping import Float, Int, UInt8

from mamkpd_jax.config import Config
from mamkpd_jax.data.annotation_files import SplitBox
from mamkpd_jax.data.functional import DamagedImage, decode_image
from mamkpd_jax.data.source import InstanceSource, Item
from mamkpd_jax.data.transforms import TopDownCrop
from mamkpd_jax.errors import UserError

Source = grain.sources.RandomAccessDataSource[Item]
_MAX_DAMAGED_SHARE = 0.01
_LEAK_FILTER = "ignore:resource_tracker:UserWarning"
_IN_THREADS = grain.ReadOptions(num_threads=4, prefetch_buffer_size=4)


@dataclasses.dataclass(frozen=True)
class LoadCrop:
    """Turns an item of a source into its crop. An image that can't be decoded gives a black crop without labels."""

    crop: TopDownCrop

    def __call__(self, item: Mapping[str, Any], rng: np.random.Generator | None = None) -> dict[str, Any]:
        try:
            image, damaged = decode_image(item["image"], upright=item["upright"]), False
        except DamagedImage:
            image, damaged = np.zeros((item["height_px"], item["width_px"], 3), np.uint8), True
        example = self.crop({**item, "image": image}, rng)
        if damaged:
            example["visible"] = np.zeros_like(example["visible"])
        fields = {name: item[name] for name in ("image_id", "file_name", "category_id", "annotation_id", "score")}
        return example | fields | {"damaged": damaged}


def train_batches(
    source: Source, crop: TopDownCrop, config: Config, part: tuple[int, int] = (0, 1)
) -> grain.DatasetIterator:
    """Endless training batches: the arrays of `LoadCrop`, stacked along a leading axis for the instances.

    Choice: the last, incomplete batch of an epoch is dropped.

    Args:
        part: (i, n) selects the i-th of n equal parts of each batch, for the i-th of n processes.
    """
    i, n = part
    steps_per_epoch = len(source) // config.optim.batch_size
    batches = (
        grain.MapDataset.source(source)
        .seed(config.seed)
        .shuffle()
        .random_map(LoadCrop(crop))
        .batch(config.optim.batch_size // n, drop_remainder=True)[i : n * steps_per_epoch : n]
        .repeat()
    )
    workers = config.data.workers
    if not workers:
        return iter(batches.to_iter_dataset(_IN_THREADS))
    # Stopped workers leave the batches that they loaded ahead in shared memory. Python's resource tracker removes them,
    # but warns of a leak. It runs in a separate process, which takes its filters from this list.
    if _LEAK_FILTER not in sys.warnoptions:
        sys.warnoptions.append(_LEAK_FILTER)
    in_worker = batches.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    return iter(in_worker.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers), _start_worker))


def _start_worker(worker: int, n_workers: int) -> None:
    """Prepares a worker process: one OpenCV thread, no reaction to signals, and an end with its parent.

    Otherwise OpenCV would start one thread per core in each worker. Ctrl-C in a terminal, or a job scheduler, signals
    all processes of a run: the workers would stop while the main process still needs them to save. And the workers of a
    killed main process would stay alive.
    """
    del worker, n_workers
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class EvalBatch(NamedTuple):
    """Crops to predict: the first n are of boxes, the rest is padding."""

    images: UInt8[np.ndarray, "b h w 3"]
    rows: Int[np.ndarray, " n"]  # indices of the crops' boxes in the list of all boxes
    matrices: Float[np.ndarray, "n 2 3"]  # affine maps from the images to the crops


def eval_batches(
    source: InstanceSource,
    boxes: Sequence[SplitBox],
    crop: TopDownCrop,
    batch_size: int,
    guard: "DamageGuard",
    part: tuple[int, int] = (0, 1),
) -> Iterator[EvalBatch]:
    """Yields the crops of a split's boxes, image by image. The last batch is padded with copies of its first crop.

    Args:
        guard: counts the images that can't be decoded. Their boxes are left out.
        part: (i, n) selects the boxes of images i, i + n, i + 2n, and so on.

    Raises:
        UserError: more than 1% of the images can't be decoded.
    """
    by_record: dict[int, list[int]] = {}
    for row, box in enumerate(boxes):
        by_record.setdefault(box.record, []).append(row)

    def load(image: tuple[int, list[int]]) -> tuple[str, list[tuple] | None]:
        record, rows = image
        content = source.image(record)
        try:
            pixels = decode_image(content["image"], upright=content["upright"])
            crops = crop.of_boxes(pixels, np.array([boxes[row].xywh for row in rows]))
        except DamagedImage:
            return content["file_name"], None
        return content["file_name"], list(zip(rows, *crops, strict=True))

    def load_crops() -> Iterator[tuple]:
        images = grain.MapDataset.source(list(by_record.items())[part[0] :: part[1]]).map(load)
        for file_name, crops in images.to_iter_dataset(_IN_THREADS):
            if crops is None:
                guard.count([file_name])
            else:
                yield from crops

    crops = load_crops()
    while batch := list(itertools.islice(crops, batch_size)):
        rows, images, matrices = (np.array(values) for values in zip(*batch, strict=True))
        padding = np.repeat(images[:1], batch_size - len(batch), axis=0)
        yield EvalBatch(np.concatenate([images, padding]), rows, matrices)


class DamageGuard:
    """Counts images that can't be decoded, logs the name of each once, and stops the run above 1% of the images."""

    def __init__(self, n_images: int):
        self._n_images = n_images
        self._damaged: set[str] = set()

    def check(self, batch: Mapping[str, np.ndarray]) -> None:
        """Counts the damaged images of a training batch, and raises as `count` does."""
        self.count(batch["file_name"][batch["damaged"]])

    def count(self, damaged: Iterable[str]) -> None:
        """Counts damaged images by their file names.

        Raises:
            UserError: more than 1% of the images are damaged.
        """
        new = {str(name) for name in damaged} - self._damaged
        self._damaged |= new
        for name in sorted(new):
            logging.warning("image %s can't be decoded; it is skipped (%d so far)", name, len(self._damaged))
        if new and len(self._damaged) > _MAX_DAMAGED_SHARE * self._n_images:
            raise UserError(
                f"{len(self._damaged)} of {self._n_images} images can't be decoded, more than 1%, the last "
                f"{max(new)}; copy the images again, remove config.data.build_dir and start again"
            )
