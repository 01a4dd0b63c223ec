"""Times the loader: its throughput, and the latency of its parts on one core.

mamkpd bench pipeline --output=benchmarks/results/pipeline.json

Its output is augmented training crops of 256x192; its input is JPEGs of 640x480 with procedural people and their boxes.
The target heatmaps are made on the device, so they are timed separately.
"""

import time
from collections.abc import Iterator
from typing import Any

import cv2
import jax
import numpy as np

from mamkpd_jax import cli
from mamkpd_jax.bench import measure
from mamkpd_jax.bench.people import items
from mamkpd_jax.bench.weights import INPUT_HW
from mamkpd_jax.codec import encode_heatmaps
from mamkpd_jax.config import Config, DataConfig, HeatmapConfig, OptimConfig
from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.data.pipeline import LoadCrop, train_batches
from mamkpd_jax.data.transforms import PRESETS, TopDownCrop
from mamkpd_jax.skeletons import COCO

_HEATMAP_HW = (64, 48)
_WORKERS = cli.define_whole_numbers("workers", [0, 1, 2], "Numbers of loader processes; 0 loads in threads.", least=0)
_ENCODE = "encode, in a batch"
_BATCH, _EPOCH_BATCHES, _EPOCHS = 32, 12, 5
_EPOCH_START = 4  # batches at the start of an epoch; a loader that restarts there would deliver them late


def loader_times(batches: Iterator[Any], batch: int, epoch_batches: int, epochs: int) -> dict[str, float]:
    """The loader's throughput without a training step, and the delay of its batches at the start of an epoch.

    The first epoch is not timed, as the loader's processes start in it.

    Args:
        batch: images per batch.
        epoch_batches: batches per epoch.
        epochs: timed epochs.
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
    crop = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO, augmentation=PRESETS["mmpose"])
    load = LoadCrop(crop)
    joints = load(people[0], np.random.default_rng(0))
    batch = [np.repeat(joints[name][None], _BATCH, axis=0) for name in ("keypoints", "visible")]
    encode = jax.jit(lambda xy, visible: encode_heatmaps(xy, visible, INPUT_HW, _HEATMAP_HW, HeatmapConfig().sigma_px))
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
        print(f"{name:26}{row['median_ms']:8.3f} ms{1e3 / row['median_ms']:8.0f} images/s a core")
    source: Any = [people[i % len(people)] for i in range(_BATCH * _EPOCH_BATCHES)]
    loaders = {}
    for workers in _WORKERS.value:
        data = DataConfig(dataset="synthetic_people", input_hw=INPUT_HW, workers=workers)
        config = Config(data=data, optim=OptimConfig(batch_size=_BATCH))
        loaders[workers] = loader_times(train_batches(source, crop, config), _BATCH, _EPOCH_BATCHES, _EPOCHS)
        values = ", ".join(f"{name} {value:.0f}" for name, value in loaders[workers].items())
        print(f"{workers} workers: {values}", flush=True)
    measure.write(rows, batch=_BATCH, workers=loaders)
