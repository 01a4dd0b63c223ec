"""Times the training step by batch size: throughput, step time, MFU and peak memory.

mamkpd bench train --config=configs/coco_base.py --batches=2 --output=benchmarks/results/train.json

The step runs on random images. With --loader a second row is for images that the loader reads from the config's data
set. MFU is the share of the device's peak dense bfloat16 rate, for devices whose peak is known or given.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.bench import measure
from mamkpd_jax.complexity import costs
from mamkpd_jax.config import Config
from mamkpd_jax.data.opening import PoseData, open_dataset
from mamkpd_jax.data.pipeline import DamageGuard, train_batches
from mamkpd_jax.environment import peak_memory_bytes
from mamkpd_jax.errors import UserError
from mamkpd_jax.sharding import check_batch, training_mesh
from mamkpd_jax.skeletons import COCO, Skeleton
from mamkpd_jax.training.feed import Feed
from mamkpd_jax.training.optimizer import optimizer
from mamkpd_jax.training.state import create_state
from mamkpd_jax.training.step import make_train_step, shard_batch

_CONFIG = cli.define_config()
_BATCHES = cli.define_whole_numbers("batches", [1, 2, 4, 8], "Batch sizes.")
_LOADER = flags.DEFINE_bool("loader", False, "Time the step on images of the config's data set, too.")

# The loader's processes need time to start, and prefetch some batches: fewer steps would time those alone.
_FIRST_BATCHES, _LOADER_REPEATS = 20, 4
_COLUMNS = ("batch", "input", "compile_s", "median_ms", "mean_ms", "images_per_s", "mfu", "peak_memory_gib")
_COLUMNS += ("data_wait", "error")


def rows(config: Config, batch_size: int, dataset: PoseData | None) -> Iterator[dict[str, Any]]:
    """The rows of one batch size: on random images and, with a data set, on those of its loader.

    On a CPU, peak memory is that of the process so far, so the largest batch size determines it.

    Raises:
        UserError: the batch size does not fit the devices and `optim.accumulate`.
    """
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, batch_size=batch_size))
    skeleton = dataset.skeleton if dataset else COCO
    mesh = training_mesh(config.fsdp)
    check_batch("optim.batch_size", batch_size, mesh.size * config.optim.accumulate)
    adam = optimizer(config.optim, steps_per_epoch=1)
    state = create_state(config, skeleton, adam, mesh)
    step = make_train_step(state, adam, config, skeleton, mesh)
    batch = shard_batch(_random_batch(config, skeleton.n_joints), mesh)
    start = time.perf_counter()
    compiled = step.lower(state, batch).compile()  # type: ignore[attr-defined]
    compile_s = time.perf_counter() - start

    def one(_: int) -> dict[str, jax.Array]:
        nonlocal state
        state, metrics = compiled(state, batch)
        return metrics

    times = measure.summary_ms(measure.times_ms({"step": one}, measure.REPEATS.value)["step"])
    about = {"batch": batch_size, "compile_s": compile_s}
    yield about | {"input": "random", **times} | _rates(config, skeleton, times["median_ms"], mesh.size)
    if dataset is not None:
        batches = train_batches(dataset.train, dataset.train_crop, config)
        try:
            fed = _time_with_loader(compiled, state, Feed(batches, mesh, DamageGuard(dataset.train.n_images).check))
        finally:
            batches.close()
        yield about | {"input": "loader", **fed} | _rates(config, skeleton, fed["mean_ms"], mesh.size)


def _random_batch(config: Config, n_joints: int) -> dict[str, np.ndarray]:
    rng, n, (height, width) = np.random.default_rng(0), config.optim.batch_size, config.data.input_hw
    return {
        "image": rng.integers(0, 256, (n, height, width, 3), np.uint8),
        "keypoints": (rng.uniform(0, 1, (n, n_joints, 2)) * [width, height]).astype(np.float32),
        "visible": np.ones((n, n_joints), np.float32),
    }


def _time_with_loader(step: Callable[..., Any], state: Any, feed: Feed) -> dict[str, float]:
    """The mean time of consecutive steps in milliseconds, and the share of it that is spent waiting for data."""
    metrics: dict[str, jax.Array] = {}
    start_s = 0.0
    n_steps = _LOADER_REPEATS * measure.REPEATS.value
    for i in range(_FIRST_BATCHES + n_steps):
        if i == _FIRST_BATCHES:
            jax.block_until_ready(metrics)
            start_s, feed.waited_s = time.perf_counter(), 0.0
        state, metrics = step(state, feed(metrics)[1])
    jax.block_until_ready(metrics)
    seconds = time.perf_counter() - start_s
    return {"mean_ms": seconds / n_steps * 1e3, "data_wait": feed.waited_s / seconds}


def _rates(config: Config, skeleton: Skeleton, step_ms: float, n_devices: int) -> dict[str, float | None]:
    images_per_s = config.optim.batch_size / step_ms * 1e3
    macs = sum(part.macs for part in costs(config, skeleton).values())
    # A MAC is two operations, and the backward pass costs twice the forward pass.
    flop_per_s = 6 * macs * images_per_s
    return {
        "images_per_s": images_per_s,
        "gflop_per_s": flop_per_s / 1e9,
        "mfu": measure.mfu(flop_per_s / n_devices),
        "peak_memory_gib": peak_memory_bytes() / 2**30,
    }


def main() -> None:
    config = _CONFIG.value
    config.validate()
    dataset = open_dataset(config) if _LOADER.value else None
    found: list[dict[str, Any]] = []
    lines = measure.Lines(*_COLUMNS)
    for batch_size in _BATCHES.value:
        for row in _rows_or_error(config, batch_size, dataset):
            found.append(row)
            lines.print(row)
            measure.write(found)


def _rows_or_error(config: Config, batch_size: int, dataset: PoseData | None) -> Iterator[dict[str, Any]]:
    try:
        yield from rows(config, batch_size, dataset)
    except UserError:
        raise
    except Exception as error:
        yield {"batch": batch_size, "error": measure.reason(error)}
