"""Times the forward pass of whole models by batch size, with each scan that runs here and as the PyTorch twin.

mamkpd bench model --variants=small,base,large --batches=1,64,256 --output=benchmarks/results/model.json

Input is uint8 crops on the device, output is heatmaps, weights are random. All contenders of a variant and batch size
take turns. The row of a contender that does not fit in memory has the error. On a CPU: --dtype=float32 --batches=1,8.
After --minutes the same command resumes with the rows that --output lacks; it replaces those of another commit or
device.

`memory_mib` covers weights, one input, the result and scratch memory (for PyTorch on a GPU only). `of_copy_bandwidth`
is the rate of XLA's memory traffic divided by the bandwidth of a large copy; caches can lift it above 1.
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
_SCANS = flags.DEFINE_list("scans", [], "Implementations of the scan. Default: all that run here.")
_TORCH = flags.DEFINE_multi_enum("torch", [], ["eager", "compiled"], "Time the PyTorch twin too, in this mode.")
_PARTS = flags.DEFINE_bool("parts", False, "Time each part of the models in JAX, too.", allow_override=True)
_MINUTES = measure.define_minutes()

_MEMORY = ("argument", "output", "temp")
_SHOWN = ("contender", "batch", "median_ms", "crops_per_s", "error")


class Ready(NamedTuple):
    """A network that is compiled for a batch size, with its inputs on the device."""

    call: Callable[[int], Any]  # predicts for the input of this number and waits for the result
    memory_bytes: int | None
    moved_bytes: float | None  # read and written in a call


# Compiles a network for a list of inputs, each of them crops uint8 [b, h, w, 3].
Prepare = Callable[[Sequence[np.ndarray]], Ready]


class Contender(NamedTuple):
    """A way to run a model, with the model's name and size."""

    model: str
    parameters: int
    macs: int  # per crop
    prepare: Prepare


def contenders(name: str) -> dict[str, Contender]:
    """The contenders of a variant by name: in JAX with each scan of --scans, in PyTorch in each mode of --torch.

    Raises:
        UserError: --scans names a scan that does not run here.
    """
    artifact, platform = random_weights(name, INPUT_HW, dtype=_DTYPE.value), export.default_export_platform()
    scans = choice.ranked(platform)
    if unknown := set(_SCANS.value) - set(scans):
        raise UserError(f"--scans names {min(unknown)!r}; {platform} has {', '.join(scans)}")
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
    """Times groups of contenders at all batch sizes until --minutes have passed; writes all rows after each batch size.

    It skips the groups and batch sizes whose rows --output already has in this setting.
    """
    deadline_s = time.monotonic() + 60 * _MINUTES.value
    setting = {"dtype": _DTYPE.value, "input_hw": list(INPUT_HW), "repeats": measure.REPEATS.value}
    bandwidth, rows, lines = measure.copy_bandwidth(), None, measure.Lines(*_SHOWN)
    for group in groups:
        # Not before the first group exists: which rows are kept depends on whether PyTorch is loaded.
        rows = measure.rows_so_far(setting) if rows is None else rows
        for batch in _BATCHES.value:
            if set(group) <= {row["contender"] for row in rows if row["batch"] == batch}:
                continue
            if time.monotonic() > deadline_s:
                print("the time is up; run the same command again to resume")
                return
            others = [row for row in rows if row["batch"] != batch or row["contender"] not in group]
            new = timed(group, batch, bandwidth)
            for row in new:
                lines.print(row)
            _print_parts(new)
            rows = others + new
            measure.write(rows, **setting, copy_bandwidth_gb_s=bandwidth / 1e9)
    print("all contenders are done")


def timed(group: Mapping[str, Contender], batch: int, bandwidth: float) -> list[dict[str, Any]]:
    """Times contenders on random crops: a row for each, with its measurements or its error.

    Args:
        bandwidth: of a large copy, in bytes per second.
    """
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
    """Prints the time of each part, for the contenders that were also timed without their parts."""
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
        # Some backends return none.
        memory: Any = compiled.memory_analysis()
        count: Any = compiled.cost_analysis() or {}
        return Ready(
            call=lambda i: jax.block_until_ready(compiled(params, batch_stats, crops[i % len(crops)])),
            memory_bytes=memory and sum(getattr(memory, f"{of}_size_in_bytes") for of in _MEMORY),
            moved_bytes=count.get("bytes accessed"),
        )

    return prepare


def in_torch(module: Any) -> Prepare:
    """Prepares a PyTorch module of crops uint8 [b, h, w, 3] on the same kind of device as JAX's."""
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
        call(0)  # compiling takes memory that must not count
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
