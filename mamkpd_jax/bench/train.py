"""The training step against the batch size: images a second, step time, MFU, peak memory.

python -m mamkpd_jax.bench train --config=configs/coco_base.py --batches=2 --output=benchmarks/results/train.json

Each batch size is a step of its own on random images, all of it but reading data. MFU is the arithmetic rate as a part
of the device's highest dense one in bfloat16, for devices whose rate is known here or given.
"""

import time

import jax
import numpy as np

from mamkpd_jax import cli
from mamkpd_jax.bench import measure
from mamkpd_jax.complexity import costs
from mamkpd_jax.config import Config
from mamkpd_jax.environment import environment, peak_memory_bytes
from mamkpd_jax.training.mesh import check_batch, training_mesh
from mamkpd_jax.training.optimizer import optimizer
from mamkpd_jax.training.state import create_state
from mamkpd_jax.training.step import make_train_step, shard_batch

_CONFIG = cli.define_config()
_BATCHES = cli.define_whole_numbers("batches", [1, 2, 4, 8], "Batch sizes.")

_N_JOINTS = 17


def row(config: Config, batch_size: int) -> dict[str, float | None]:
    """Figures of one batch size. A CPU's peak memory is the process's, so the largest batch so far sets it."""
    mesh = training_mesh(config.fsdp)
    check_batch("optim.batch_size", batch_size, mesh.size * config.optim.accumulate)
    adam = optimizer(config.optim, steps_per_epoch=1)
    graphdef, state = create_state(config, _N_JOINTS, adam, mesh)
    step = make_train_step(graphdef, state, adam, config, mesh)
    rng = np.random.default_rng(0)
    height, width = config.data.input_hw
    batch = shard_batch(
        {
            "image": rng.integers(0, 256, (batch_size, height, width, 3), np.uint8),
            "keypoints": (rng.uniform(0, 1, (batch_size, _N_JOINTS, 2)) * [width, height]).astype(np.float32),
            "visible": np.ones((batch_size, _N_JOINTS), np.float32),
        },
        mesh,
    )
    start = time.perf_counter()
    step = step.lower(state, batch).compile()
    compile_s = time.perf_counter() - start

    def one(_: int) -> dict[str, jax.Array]:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    times = measure.summary_ms(measure.times_ms({"step": one}, measure.REPEATS.value)["step"])
    images_per_s = batch_size / times["median_ms"] * 1e3
    macs = sum(part.macs for part in costs(config.model, _N_JOINTS, (height, width)).values())
    # Two operations a MAC, and the backward pass twice the forward one.
    flop_per_s = 6 * macs * images_per_s
    return {
        "batch": batch_size,
        "compile_s": compile_s,
        **times,
        "images_per_s": images_per_s,
        "gflop_per_s": flop_per_s / 1e9,
        "mfu": measure.mfu(flop_per_s / mesh.size),
        "peak_memory_gib": peak_memory_bytes() / 2**30,
    }


def main() -> None:
    config = _CONFIG.value
    config.validate()
    rows = []
    print(f"{'batch':>6}{'compile s':>11}{'step ms':>10}{'images/s':>10}{'GFLOP/s':>9}{'MFU':>7}{'peak GiB':>10}")
    for batch_size in _BATCHES.value:
        rows.append(row(config, batch_size))
        print("{batch:6}{compile_s:11.1f}{median_ms:10.0f}{images_per_s:10.2f}".format(**rows[-1]), end="")
        mfu = "-" if rows[-1]["mfu"] is None else f"{rows[-1]['mfu']:.1%}"
        print("{gflop_per_s:9.1f}{mfu:>7}{peak_memory_gib:10.2f}".format(**rows[-1] | {"mfu": mfu}), flush=True)
    measure.write({"environment": environment(), "rows": rows})
