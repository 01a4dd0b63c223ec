"""Times a variant on a CPU in JAX, as its PyTorch twin, in onnxruntime and in OpenVINO.

mamkpd bench export_speed --variant=small --threads=2 --output=benchmarks/results/export_cpu.json

Weights are random. All contenders take turns in one process, with the same number of threads.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from mamkpd_jax.bench import measure
from mamkpd_jax.bench.weights import INPUT_HW, random_weights
from mamkpd_jax.compilation import jit
from mamkpd_jax.model.mamkpd import VARIANTS
from mamkpd_jax.program import NETWORK, program_of

_VARIANT = flags.DEFINE_enum("variant", "small", sorted(VARIANTS), "Variant of the model.")
_THREADS = flags.DEFINE_integer("threads", os.cpu_count() or 1, "Threads of each contender.", lower_bound=1)
_COMPILE = flags.DEFINE_bool("compile", False, "Time the compiled twin too; needs a C++ compiler.", allow_override=True)
_BATCHES = (1, 8)

Run = Callable[[np.ndarray], Any]


def _contenders(variant: str, threads: int) -> dict[str, Run]:
    """Functions of normalised crops fp32 [b, 3, h, w], by name."""
    import jax
    import onnxruntime
    import torch

    from mamkpd_jax.export.formats import onnx
    from mamkpd_jax.inference.openvino_session import OpenVinoSession

    torch.set_num_threads(threads)
    artifact = random_weights(variant)
    in_jax = jit(program_of(artifact, NETWORK))
    crops = np.random.default_rng(0).integers(256, size=(8, *INPUT_HW, 3), dtype=np.uint8)  # times don't depend on them
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def in_file_runtimes(precision: str) -> dict[str, Run]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            onnx.save(artifact, path, NETWORK, precision, calibration=crops if precision == "int8" else None)
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            in_openvino = OpenVinoSession(path, threads=threads)
        name = "" if precision == "fp32" else f", {precision}"
        return {
            f"onnxruntime{name}": lambda images: session.run(None, {"image": images}),
            f"openvino{name}": lambda images: in_openvino.run(None, {"image": images}),
        }

    def in_torch(model: Callable[[torch.Tensor], torch.Tensor]) -> Run:
        return torch.inference_mode()(lambda images: model(torch.from_numpy(images)))

    contenders: dict[str, Run] = {
        "jax": lambda images: jax.block_until_ready(in_jax(images.transpose(0, 2, 3, 1))),
        "torch, eager": in_torch(onnx.twin(artifact)),
    }
    for precision in ("fp32", "fp16", "int8"):
        contenders |= in_file_runtimes(precision)
    if _COMPILE.value:
        compiled = onnx.twin(artifact)
        compiled.compile(dynamic=False)
        contenders["torch, compiled"] = in_torch(compiled)
    return contenders


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        # XLA starts one thread for each core that it may run on; there is no other way to limit its threads.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: _THREADS.value])
    contenders, rows = _contenders(_VARIANT.value, _THREADS.value), []
    lines = measure.Lines("contender", "batch", "median_ms", "crops_per_s")
    for batch in _BATCHES:
        images = np.random.default_rng(0).normal(size=(batch, 3, *INPUT_HW)).astype(np.float32)
        calls = {name: lambda _, run=run, images=images: run(images) for name, run in contenders.items()}
        for name, times in measure.times_ms(calls, measure.REPEATS.value).items():
            values = measure.summary_ms(times)
            rows.append({"contender": name, "batch": batch, **values, "crops_per_s": batch / values["median_ms"] * 1e3})
            lines.print(rows[-1])
    measure.write(rows, variant=_VARIANT.value, input_hw=INPUT_HW, threads=_THREADS.value)
