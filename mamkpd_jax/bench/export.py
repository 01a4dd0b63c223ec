"""Latency and throughput on a CPU of a variant in JAX, the PyTorch twin, eager and compiled, and onnxruntime.

python -m mamkpd_jax.bench.export --variant=small --threads=2 --output=benchmarks/results/export_cpu.json

Random weights: no contender's time depends on them. All contenders take turns in one process with the same threads.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.models.mamkpd import VARIANTS

_VARIANT = flags.DEFINE_enum("variant", "small", sorted(VARIANTS), "The model.")
_THREADS = flags.DEFINE_integer("threads", os.cpu_count() or 1, "Threads of every contender.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "benchmarks/results/export_cpu.json", "The result file.")

_INPUT_HW = (256, 192)
_BATCHES = (1, 8)
_WARM_UPS, _REPEATS = 3, 30

Run = Callable[[np.ndarray], Any]


def rows(variant: str, threads: int) -> list[dict[str, Any]]:
    """A row a contender and batch: contender, batch, median_ms, p95_ms, crops_per_s."""
    contenders = _contenders(variant, threads)
    times_s: dict[tuple[str, int], list[float]] = {}
    rng = np.random.default_rng(0)
    inputs = {batch: rng.normal(size=(batch, 3, *_INPUT_HW)).astype(np.float32) for batch in _BATCHES}
    for turn in range(_WARM_UPS + _REPEATS):
        for name, run in contenders.items():
            for batch, images in inputs.items():
                start = time.perf_counter()
                run(images)
                if turn >= _WARM_UPS:
                    times_s.setdefault((name, batch), []).append(time.perf_counter() - start)
    return [
        {
            "contender": name,
            "batch": batch,
            "median_ms": 1e3 * statistics.median(seconds),
            "p95_ms": 1e3 * float(np.percentile(seconds, 95)),
            "crops_per_s": batch / statistics.median(seconds),
        }
        for (name, batch), seconds in times_s.items()
    ]


def _contenders(variant: str, threads: int) -> dict[str, Run]:
    """Functions of normalised images [b, 3, h, w]."""
    import jax
    import onnxruntime
    import torch
    from flax import nnx

    from mamkpd_jax.config import Config, DataConfig
    from mamkpd_jax.convert.weights import Weights
    from mamkpd_jax.export.onnx_model import save_onnx, twin
    from mamkpd_jax.export.options import Options
    from mamkpd_jax.export.stablehlo import predictor
    from mamkpd_jax.models.mamkpd import MamKPD
    from mamkpd_jax.training.state import split

    torch.set_num_threads(threads)
    config = Config(model=VARIANTS[variant], data=DataConfig(dataset="synthetic_people", input_hw=_INPUT_HW))
    _, params, batch_stats = split(MamKPD(config.model, 17, rngs=nnx.Rngs(0)))
    weights = Weights(config=config, step=0, params=params, batch_stats=batch_stats)

    in_jax = jax.jit(predictor(weights, Options()))
    eager = twin(weights)
    compiled = torch.compile(eager)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_onnx(weights, path, Options())
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def in_torch(model: Callable[[torch.Tensor], torch.Tensor]) -> Run:
        def run(images: np.ndarray) -> torch.Tensor:
            with torch.inference_mode():
                return model(torch.from_numpy(images))

        return run

    return {
        "jax": lambda images: jax.block_until_ready(in_jax(images.transpose(0, 2, 3, 1))),
        "torch, eager": in_torch(eager),
        "torch, compiled": in_torch(compiled),
        "onnxruntime": lambda images: session.run(None, {"image": images}),
    }


def _about() -> dict[str, Any]:
    import jax
    import onnxruntime
    import torch

    from mamkpd_jax.convert.weights import commit

    return {
        "commit": commit(),
        "device": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        # XLA takes a thread a core that it may run on: the one way to give every contender the same threads.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: _THREADS.value])
    result = {
        **_about(),
        "command": f"python -m mamkpd_jax.bench.export {' '.join(sys.argv[1:])}".strip(),
        "variant": _VARIANT.value,
        "input_hw": _INPUT_HW,
        "threads": _THREADS.value,
        "rows": rows(_VARIANT.value, _THREADS.value),
    }
    path = Path(_OUTPUT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1))
    for row in result["rows"]:
        print("{contender:16} batch {batch}  {median_ms:8.1f} ms  {crops_per_s:7.1f} crops/s".format(**row))


if __name__ == "__main__":
    cli.run(main)
