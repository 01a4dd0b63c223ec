"""The forward pass of whole models: every scan that runs here, and the PyTorch twin, by batch size.

python -m mamkpd_jax.bench model --variants=small,base,large --batches=1,64,256 --output=benchmarks/results/model.json

Bytes on the device go in and heatmaps come out; weights are random, on which no time depends. All contenders of a
variant and batch take turns in one process, each waited for. One that does not fit in memory is reported and left out.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from absl import flags
from flax import nnx

from mamkpd_jax.bench import measure
from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.convert.weights import Weights
from mamkpd_jax.environment import environment
from mamkpd_jax.inference.predict import make_network
from mamkpd_jax.models.mamkpd import MamKPD, abstract, variant
from mamkpd_jax.ops.selective_scan import IMPLEMENTATIONS
from mamkpd_jax.skeletons import COCO
from mamkpd_jax.training.state import split

# Other benches have flags of these names, and tests have several of them in one process.
VARIANTS = flags.DEFINE_list(
    "variants", ["small", "base", "large"], "Names of the table of variants.", allow_override=True
)
BATCHES = flags.DEFINE_list("batches", ["1", "64", "256"], "Batch sizes.", allow_override=True)
DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["bfloat16", "float32"], "Of the activations.", allow_override=True)
_TORCH = flags.DEFINE_multi_enum(
    "torch", [], ["eager", "compiled"], "The PyTorch twin too, in these ways, on the same kind of device."
)

INPUT_HW = (256, 192)

# Crops uint8 [b, h, w, 3], which it brings to the device, to a call that predicts and waits.
Forward = Callable[[np.ndarray], Callable[[], Any]]


def random_weights(name: str) -> Weights:
    """A variant for 17 joints as it is initialised."""
    model = dataclasses.replace(variant(name), dtype=DTYPE.value)
    data = DataConfig(dataset="synthetic_people", input_hw=INPUT_HW)
    config = Config(model=model, data=data, eval=EvalConfig(flip_test=False))
    _, params, batch_stats = split(MamKPD(model, COCO.n_joints, rngs=nnx.Rngs(0)))
    return Weights(config=config, skeleton=COCO, step=0, params=params, batch_stats=batch_stats)


def contenders(weights: Weights) -> dict[str, Forward]:
    """The model in JAX with each scan, and in PyTorch, by name."""
    here = (None, jax.default_backend())
    scans = [name for name, scan in IMPLEMENTATIONS.items() if scan.platform in here and name != "pallas_interpret"]
    forwards = {f"jax, {scan}": _in_jax(weights, scan) for scan in scans}
    return forwards | {f"torch, {how}": in_torch(_twin(weights, how == "compiled")) for how in _TORCH.value}


def timed(forwards: Mapping[str, Forward], batch: int) -> list[dict[str, Any]]:
    """A row a contender on random crops, printed too: its times and crops a second, or the reason why it can't run."""
    images = np.random.default_rng(0).integers(0, 256, (batch, *INPUT_HW, 3), np.uint8)
    running, rows = {}, {}
    for name, forward in forwards.items():
        try:
            start = time.perf_counter()
            call = forward(images)
            call()
            rows[name] = {"contender": name, "batch": batch, "first_call_s": time.perf_counter() - start}
            running[name] = lambda _, call=call: call()
        except Exception as error:  # too little memory, most often: a finding, not the end
            rows[name] = {"contender": name, "batch": batch, "error": str(error).splitlines()[0]}
            print(f"{name:28} batch {batch:4}  failed: {rows[name]['error']}")
    for name, times in measure.times_ms(running, measure.REPEATS.value).items():
        figures = measure.summary_ms(times)
        rows[name] |= {**figures, "crops_per_s": batch / figures["median_ms"] * 1e3}
        print("{contender:28} batch {batch:4}  {median_ms:9.2f} ms, {crops_per_s:9.1f} crops/s".format(**rows[name]))
    return list(rows.values())


def _in_jax(weights: Weights, scan: str) -> Forward:
    config = dataclasses.replace(weights.config, model=dataclasses.replace(weights.config.model, scan=scan))
    network = jax.jit(make_network(nnx.graphdef(abstract(config.model, COCO.n_joints)), config, COCO))
    params, batch_stats = jax.device_put((weights.params, weights.batch_stats))

    def forward(images: np.ndarray) -> Callable[[], Any]:
        crops = jax.device_put(images)
        return lambda: jax.block_until_ready(network(params, batch_stats, crops))

    return forward


def in_torch(module: Any) -> Forward:
    """A PyTorch module of crops uint8 [b, h, w, 3], moved to the same kind of device as JAX has."""
    import torch

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    model = module.eval().to(device)
    dtype = getattr(torch, DTYPE.value)

    def forward(images: np.ndarray) -> Callable[[], Any]:
        crops = torch.from_numpy(images).to(device)

        def call() -> None:
            with torch.inference_mode(), torch.autocast(device, dtype, enabled=dtype != torch.float32):
                model(crops)
            if device == "cuda":
                torch.cuda.synchronize()

        return call

    return forward


def _twin(weights: Weights, compiled: bool) -> Any:
    from mamkpd_jax.export.onnx_model import Predictor, twin

    model = twin(weights)
    if compiled:
        model.compile(dynamic=False)
    return Predictor(model, normalize=True, flip_test=False, decode=False)


def main() -> None:
    rows = []
    for name in VARIANTS.value:
        forwards = contenders(random_weights(name))
        for batch in map(int, BATCHES.value):
            rows += [{"model": name, **row} for row in timed(forwards, batch)]
            measure.write({"environment": environment(), "dtype": DTYPE.value, "rows": rows})
