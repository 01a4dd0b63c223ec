"""Times the loader, its parts on one core and the whole: python -m mamkpd_jax.bench pipeline --output=FILE.json

Training crops of 256x192, augmented, from JPEGs of 640x480 that hold procedural people, each with a box of its own. The
targets are made on the device, in the training step, and are no part of the loader: their time is told beside it.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import jax
import numpy as np

from mamkpd_jax import cli
from mamkpd_jax.bench import measure
from mamkpd_jax.codec import encode_heatmaps
from mamkpd_jax.config import Config, DataConfig, OptimConfig
from mamkpd_jax.data.annotation_files import NO_ANNOTATION
from mamkpd_jax.data.datasets.synthetic_people import jpeg
from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.data.pipeline import LoadCrop, train_batches
from mamkpd_jax.data.source import Item
from mamkpd_jax.data.synthesis import render_scene
from mamkpd_jax.data.transforms import PRESETS, TopDownCrop
from mamkpd_jax.environment import environment
from mamkpd_jax.skeletons import COCO

_IMAGE_HW, _INPUT_HW, _HEATMAP_HW = (480, 640), (256, 192), (64, 48)
_N_IMAGES = 16
_WORKERS = cli.define_whole_numbers("workers", [0, 1, 2], "Loader processes; 0 loads in threads of this one.", least=0)
_ENCODE = "encode, in a batch"
_BATCH, _EPOCH_BATCHES, _EPOCHS = 32, 12, 5
_EPOCH_START = 4  # batches after an epoch's end, of which a loader that starts anew would give the first late


def items() -> list[Item]:
    """People of a few pictures, as an `InstanceSource` gives them."""
    scenes = [render_scene(3, index, _IMAGE_HW) for index in range(_N_IMAGES)]
    return [
        {
            "image": jpeg(scene),
            "image_id": index,
            "file_name": f"{index}.jpg",
            "height_px": _IMAGE_HW[0],
            "width_px": _IMAGE_HW[1],
            "category_id": 1,
            "annotation_id": NO_ANNOTATION,
            "score": 1.0,
            "bbox": person.box_xywh,
            "keypoints": person.keypoints,
        }
        for index, scene in enumerate(scenes)
        for person in scene.people
    ]


class Repeated:
    """A source of items that come again and again."""

    def __init__(self, items: Sequence[Item], length: int):
        self._items, self._length = items, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Item:
        return self._items[index % len(self._items)]


def loader_times(batches: Iterator[Any], batch: int, epoch_batches: int, epochs: int) -> dict[str, float]:
    """How fast batches come when nothing else is done, and whether they come later at the start of an epoch.

    The first epoch, in which the processes start, is not timed.
    """
    ends_s = []
    for _ in range((1 + epochs) * epoch_batches):
        next(batches)
        ends_s.append(time.perf_counter())
    by_epoch_ms = 1e3 * np.diff(ends_s)[epoch_batches - 1 :].reshape(epochs, epoch_batches)
    return {
        "images_per_s": 1e3 * batch / by_epoch_ms.mean(),
        "batch_ms": by_epoch_ms.mean(),
        "batch_at_epoch_start_ms": by_epoch_ms[:, :_EPOCH_START].mean(),
        "latest_at_epoch_start_ms": by_epoch_ms[:, :_EPOCH_START].max(),
        "latest_ms": by_epoch_ms.max(),
    }


def main() -> None:
    cv2.setNumThreads(1)
    people = items()
    crop = TopDownCrop(input_hw=_INPUT_HW, skeleton=COCO, augmentation=PRESETS["mmpose"])
    load = LoadCrop(crop)
    joints = load(people[0], np.random.default_rng(0))
    batch = [np.repeat(joints[name][None], _BATCH, axis=0) for name in ("keypoints", "visible")]
    encode = jax.jit(lambda xy, visible: encode_heatmaps(xy, visible, _INPUT_HW, _HEATMAP_HW, DataConfig().sigma_px))
    decoded = [{**person, "image": decode_image(person["image"])} for person in people]
    times = measure.times_ms(
        {
            "decode, augment and crop": lambda i: load(people[i % len(people)], np.random.default_rng(i)),
            "decode": lambda i: decode_image(people[i % len(people)]["image"]),
            "augment and crop": lambda i: crop(decoded[i % len(people)], np.random.default_rng(i)),
            _ENCODE: lambda i: encode(*batch),
        },
        repeats=measure.REPEATS.value,
    )
    times[_ENCODE] = [time_ms / _BATCH for time_ms in times[_ENCODE]]
    rows = {name: measure.summary_ms(part) for name, part in times.items()}
    for name, row in rows.items():
        print(f"{name:26}{row['median_ms']:8.3f} ms{1e3 / row['median_ms']:8.0f} images/s and core")
    loaders = {}
    for workers in _WORKERS.value:
        config = Config(
            data=DataConfig(dataset="synthetic_people", input_hw=_INPUT_HW, workers=workers),
            optim=OptimConfig(batch_size=_BATCH),
        )
        source = Repeated(people, _BATCH * _EPOCH_BATCHES)
        loaders[workers] = loader_times(train_batches(source, crop, config), _BATCH, _EPOCH_BATCHES, _EPOCHS)
        values = ", ".join(f"{name} {value:.0f}" for name, value in loaders[workers].items())
        print(f"{workers} workers: {values}", flush=True)
    measure.write({"environment": environment(), "rows": rows, "batch": _BATCH, "workers": loaders})
