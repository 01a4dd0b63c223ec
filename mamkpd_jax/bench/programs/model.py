"""The forward pass of whole models: every scan that runs here, and the PyTorch twin, by batch size.

mamkpd bench model --variants=small,base,large --batches=1,64,256 --output=benchmarks/results/model.json

Input is uint8 crops on the device, output is heatmaps, weights are random. All contenders of a variant and batch size
take turns. One that does not fit in memory is reported. On a CPU: --dtype=float32 --batches=1,8. After --minutes the
same command resumes with what --output lacks; results of another commit or device are replaced.

`memory_mib` is weights, one input, result and scratch (PyTorch reports it on a GPU alone). `of_copy_bandwidth` is the
rate of XLA's memory traffic as a part of a large copy's: caches can lift it above 1.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from jax import export

from mamkpd_jax import cli
from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.bench import measure
from mamkpd_jax.bench.weights import INPUT_HW, random_weights
from mamkpd_jax.bench.without import PARTS, as_text, by_part, without
from mamkpd_jax.compilation import jit
from mamkpd_jax.complexity import costs
from mamkpd_jax.errors import UserError
from mamkpd_jax.ops.selective_scan import choice
from mamkpd_jax.program import Options, cast_once, make_program

VARIANTS = measure.define_variants(["small", "base", "large"])
_BATCHES = cli.define_whole_numbers("batches", [1, 64, 256], "Batch sizes.")
_DTYPE = measure.define_dtype("bfloat16", "float32")
_SCANS = flags.DEFINE_list("scans", [], "Implementations of the scan; by default all that run here.")
_TORCH = flags.DEFINE_multi_enum("torch", [], ["eager", "compiled"], "The PyTorch twin too, on such a device.")
_PARTS = flags.DEFINE_bool("parts", False, "Times models in JAX without each of their parts, too.", allow_override=True)
_MINUTES = measure.define_minutes()

_MEMORY = ("argument", "output", "temp")
_SHOWN = ("contender", "batch", "median_ms", "crops_per_s", "error")


class Ready(NamedTuple):
    """A network that is compiled for a batch size and has its inputs on the device."""

    call: Callable[[int], Any]  # predicts for the input of this number, and waits
    memory_bytes: int | None
    moved_bytes: float | None  # what it reads and writes in a call


# Inputs, each crops uint8 [b, h, w, 3], to a network that has them.
Prepare = Callable[[Sequence[np.ndarray]], Ready]


class Contender(NamedTuple):
    """A way to run a model, and the model's size."""

    model: str
    parameters: int
    macs: int  # of a crop
    prepare: Prepare


def contenders(name: str) -> dict[str, Contender]:
    """A variant in JAX with each scan that runs here, and in PyTorch as the flags say, by name."""
    artifact, platform = random_weights(name, INPUT_HW, dtype=_DTYPE.value), export.default_export_platform()
    scans = choice.ranked(platform)
    if unknown := set(_SCANS.value) - set(scans):
        raise UserError(f"--scans names {min(unknown)!r}; on {platform} there are {', '.join(scans)}")
    ways = {}
    for scan in _SCANS.value or scans:
        ways[f"jax, {scan}"] = _in_jax(artifact, scan, None)
        if _PARTS.value:
            ways |= {f"jax, {scan}, without {part}": _in_jax(artifact, scan, part) for part in PARTS}
    ways |= {f"torch, {how}": in_torch(_twin(artifact, how == "compiled")) for how in _TORCH.value}
    parts = costs(artifact.config, artifact.skeleton).values()
    params, macs = sum(part.params for part in parts), sum(part.macs for part in parts)
    return {f"{name}, {way}": Contender(name, params, macs, prepare) for way, prepare in ways.items()}


def run(groups: Iterable[Mapping[str, Contender]]) -> None:
    """Times groups of contenders at all batch sizes until --minutes are up, and writes all rows after each batch size.

    A group's batch that --output has already, in this setting, is not timed again.
    """
    deadline_s = time.monotonic() + 60 * _MINUTES.value
    setting = {"dtype": _DTYPE.value, "input_hw": list(INPUT_HW), "repeats": measure.REPEATS.value}
    bandwidth, rows, lines = measure.copy_bandwidth(), None, measure.Lines(*_SHOWN)
    for group in groups:
        rows = measure.rows_so_far(setting) if rows is None else rows  # which asks what is loaded: the group is first
        for batch in _BATCHES.value:
            if set(group) <= {row["contender"] for row in rows if row["batch"] == batch}:
                continue
            if time.monotonic() > deadline_s:
                print("the time is up; the same command resumes")
                return
            others = [row for row in rows if row["batch"] != batch or row["contender"] not in group]
            new = timed(group, batch, bandwidth)
            for row in new:
                lines.print(row)
            _print_parts(new)
            rows = others + new
            measure.write(rows, **setting, copy_bandwidth_gb_s=bandwidth / 1e9)
    print("all are done")


def timed(group: Mapping[str, Contender], batch: int, bandwidth: float) -> list[dict[str, Any]]:
    """A row a contender on random crops: its measurements, or why it can't run. `bandwidth` is a copy's in bytes/s."""
    shape = (batch, *INPUT_HW, 3)
    rng, n = np.random.default_rng(0), measure.n_inputs(int(np.prod(shape)))
    inputs = [rng.integers(0, 256, shape, np.uint8) for _ in range(n)]
    ready, rows = {}, {}
    for name, one in group.items():
        about = {"contender": name, "model": one.model, "parameters": one.parameters, "GMACs": one.macs / 1e9}
        rows[name] = {**about, "batch": batch}
        try:
            start = time.perf_counter()
            prepared = one.prepare(inputs)
            prepared.call(0)
            rows[name]["first_call_s"] = time.perf_counter() - start
            ready[name] = prepared
        except Exception as error:
            rows[name]["error"] = measure.reason(error)
    calls = {name: prepared.call for name, prepared in ready.items()}
    for name, times in measure.times_ms(calls, measure.REPEATS.value).items():
        summary, (_, memory_bytes, moved_bytes) = measure.summary_ms(times), ready[name]
        calls_per_s = 1e3 / summary["median_ms"]
        rows[name] |= {
            **summary,
            "crops_per_s": batch * calls_per_s,
            "mfu": measure.mfu(2 * group[name].macs * batch * calls_per_s),
            "memory_mib": memory_bytes and memory_bytes / 2**20,
            "of_copy_bandwidth": moved_bytes and moved_bytes * calls_per_s / bandwidth,
        }
    return list(rows.values())


def _print_parts(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the time of each part of the contenders that were also timed without their parts."""
    ms = {row["contender"]: row["median_ms"] for row in rows if "median_ms" in row}
    for name, whole in ms.items():
        if lacking := {part: ms[key] for part in PARTS if (key := f"{name}, without {part}") in ms}:
            print(f"{name}, ms: {as_text(by_part(whole, lacking))}")


def _in_jax(artifact: Artifact, scan: str, part: str | None) -> Prepare:
    config, skeleton = artifact.config, artifact.skeleton
    network = jit(make_program(config, skeleton, Options(flip_test=False, decode=False, scan=scan)))
    params = cast_once(artifact.params, config, skeleton)
    params, batch_stats = jax.device_put((params, artifact.batch_stats))

    def prepare(inputs: Sequence[np.ndarray]) -> Ready:
        crops = jax.device_put(list(inputs))
        with without(part):
            compiled = network.lower(params, batch_stats, crops[0]).compile()
        # A backend need not know them.
        memory: Any = compiled.memory_analysis()
        count: Any = compiled.cost_analysis() or {}
        return Ready(
            call=lambda i: jax.block_until_ready(compiled(params, batch_stats, crops[i % len(crops)])),
            memory_bytes=memory and sum(getattr(memory, f"{of}_size_in_bytes") for of in _MEMORY),
            moved_bytes=count.get("bytes accessed"),
        )

    return prepare


def in_torch(module: Any) -> Prepare:
    """A PyTorch module of crops uint8 [b, h, w, 3], moved to the same kind of device as JAX has."""
    import torch

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    model = module.eval().to(device)
    dtype = getattr(torch, _DTYPE.value)

    def prepare(inputs: Sequence[np.ndarray]) -> Ready:
        crops = [torch.from_numpy(images).to(device) for images in inputs]

        def call(i: int) -> None:
            with torch.inference_mode(), torch.autocast(device, dtype, enabled=dtype != torch.float32):
                model(crops[i % len(crops)])
            if device == "cuda":
                torch.cuda.synchronize()

        if device != "cuda":
            return Ready(call, memory_bytes=None, moved_bytes=None)
        call(0)  # compiles, which takes memory of its own
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call(0)
        weights = sum(x.nbytes for x in (*model.parameters(), *model.buffers()))
        peak = torch.cuda.max_memory_allocated() - before + weights + crops[0].nbytes
        return Ready(call, memory_bytes=peak, moved_bytes=None)

    return prepare


def _twin(artifact: Artifact, compiled: bool) -> Any:
    from mamkpd_jax.artifact.torch_model import CropPredictor
    from mamkpd_jax.export.formats.onnx import twin

    model = twin(artifact)
    if compiled:
        model.compile(dynamic=False)
    return CropPredictor(model, flip_test=False, decode=False)


def main() -> None:
    run(contenders(name) for name in VARIANTS.value)
