"""From a built data set to batches: grain shuffles, decodes, augments and batches.

A batch is a dict of numpy arrays whose first axis is the instance. What happens to an instance depends only on the
seed, the epoch and the instance, whatever the number of workers.
"""

import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import grain
import numpy as np
from absl import logging

from mamkpd_jax.config import Config
from mamkpd_jax.data.functional import DamagedImage, decode_image
from mamkpd_jax.data.source import Item
from mamkpd_jax.data.transforms import TopDownCrop
from mamkpd_jax.errors import UserError

Batch = dict[str, np.ndarray]
Source = grain.sources.RandomAccessDataSource[Item]
_MAX_DAMAGED_SHARE = 0.01
_READ_THREADS = 4


@dataclasses.dataclass(frozen=True)
class LoadCrop:
    """An item of a source to its crop; an image that can't be decoded gives a black crop without labels."""

    crop: TopDownCrop

    def __call__(self, item: Mapping[str, Any], rng: np.random.Generator | None = None) -> dict[str, Any]:
        try:
            image, damaged = decode_image(item["image"]), False
        except DamagedImage:
            image, damaged = np.zeros((item["height_px"], item["width_px"], 3), np.uint8), True
        example = self.crop({**item, "image": image}, rng)
        if damaged:
            example["visible"] = np.zeros_like(example["visible"])
        about = {name: item[name] for name in ("image_id", "file_name", "category_id", "annotation_id", "score")}
        return example | about | {"damaged": damaged}


def train_batches(
    source: Source, crop: TopDownCrop, config: Config, part: tuple[int, int] = (0, 1)
) -> grain.DatasetIterator:
    """Endless training batches: what `LoadCrop` gives, a leading axis for the instance.

    Choice: the last incomplete batch of an epoch is dropped.

    Args:
        part: (i, n) gives the i-th of n equal parts of each batch, for the i-th of n processes.
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
    if workers:
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        workers_options = grain.MultiprocessingOptions(num_workers=workers)
        return iter(batches.to_iter_dataset(options).mp_prefetch(workers_options, _start_worker))
    return iter(
        batches.to_iter_dataset(grain.ReadOptions(num_threads=_READ_THREADS, prefetch_buffer_size=_READ_THREADS))
    )


def _start_worker(worker: int, n_workers: int) -> None:
    """What a worker process starts with.

    OpenCV would start a thread a core in each. Ctrl-C in a terminal, and a job scheduler, signal all processes of a
    run, which would take the loader away from the one that is about to save. And when that one is killed, its workers
    would stay.
    """
    del worker, n_workers
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def eval_batches(source: Source, crop: TopDownCrop, batch_size: int, part: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
    """Every item of a source once, in order; the last batch is padded with copies of its first item.

    Args:
        part: (i, n) gives items i, i + n, i + 2n, and so on.
    """
    items = grain.MapDataset.source(source)[part[0] :: part[1]]
    batches = items.map(LoadCrop(crop)).batch(batch_size, drop_remainder=False)
    options = grain.ReadOptions(num_threads=_READ_THREADS, prefetch_buffer_size=_READ_THREADS)
    for batch in batches.to_iter_dataset(options):
        missing = batch_size - len(batch["image"])
        yield {name: np.concatenate([v, np.repeat(v[:1], missing, axis=0)]) for name, v in batch.items()}


class DamageGuard:
    """Counts images that could not be decoded, names each once, and stops the run beyond 1% of the images."""

    def __init__(self, n_images: int):
        self._n_images = n_images
        self._damaged: set[str] = set()

    def check(self, batch: Mapping[str, np.ndarray]) -> None:
        """Looks at a batch.

        Raises:
            UserError: more than 1% of the images are damaged.
        """
        new = {str(name) for name in batch["file_name"][batch["damaged"]]} - self._damaged
        self._damaged |= new
        for name in sorted(new):
            logging.warning("image %s can't be decoded; it is skipped (%d so far)", name, len(self._damaged))
        if new and len(self._damaged) > _MAX_DAMAGED_SHARE * self._n_images:
            raise UserError(
                f"{len(self._damaged)} of {self._n_images} images can't be decoded, more than 1%, the last "
                f"{max(new)}; copy the images again, remove config.data.build_dir and start again"
            )
