"""Checks and times every implementation of the four-direction scan on the model's shapes.

mamkpd bench scan --output=benchmarks/results/scan.json

Rows are written after each workload and batch size, and the same command resumes with those that --output lacks.
--tilings also times the kernels with each entry of `TILINGS` that differs from the default for the workload and batch
size.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from jax import Array, export

from mamkpd_jax import cli
from mamkpd_jax.bench import measure
from mamkpd_jax.environment import gpu_property
from mamkpd_jax.errors import UserError
from mamkpd_jax.ops.cross_scan import DIRECTIONS
from mamkpd_jax.ops.selective_scan import by_sequence, choice, ss2d_scan
from mamkpd_jax.ops.selective_scan.implementations import associative, pallas_triton
from mamkpd_jax.ops.selective_scan.tiling import plan
from mamkpd_jax.ops.selective_scan.workloads import WORKLOADS, Workload
from mamkpd_jax.registry import SCANS

_WORKLOADS = flags.DEFINE_list("workloads", list(WORKLOADS), "Workloads of ops/selective_scan/workloads.py.")
_BATCHES = cli.define_whole_numbers("batches", [1, 64, 256], "Batch sizes.")
_DTYPE = measure.define_dtype("bfloat16", "float16", "float32")
_STATES = flags.DEFINE_integer("d_state", 1, "States per channel.", lower_bound=1, upper_bound=16)
_CHUNKS = flags.DEFINE_list("chunks", ["16", "256", "whole"], "Tokens per chunk of `associative`, beside its default.")
_IMPLEMENTATIONS = flags.DEFINE_list("implementations", [], "Default: all that are meant for this device.")
_TILINGS = flags.DEFINE_bool("tilings", False, "Time the kernels with the tilings of bench/programs/scan.py, too.")
_MEASURES = flags.DEFINE_multi_enum("measure", ["errors", "times"], ["errors", "times"], "What to measure.")

# Tilings whose speed only a GPU can show: fields of `tiling.Scan` by title.
TILINGS: dict[str, dict[str, Any]] = {
    "loads a chunk ahead": {"prefetch": True},
    "no segments": {"schedulers": 0},
    "a quarter of the programs": {"schedulers": 128},
    "half the programs": {"schedulers": 256},
    "twice the programs": {"schedulers": 1024},
    "4 times the programs": {"schedulers": 2048},
    "8 times the programs": {"schedulers": 4096},
}
_ERROR_LIMITS = {4: (2e-6, 1e-5), 2: (1e-2, 2e-2)}  # of values and gradients, by bytes of an activation
_LARGEST_CHECKED_BATCH = 64  # larger batches have the same tiling
# What the kernels issue per token and direction for 32 channels, at rank 6 and 64 channels (`kernel_report`).
_INSTRUCTIONS = {"forward": 32, "forward+backward": 88}
_SHOWN = (
    *(f"{direction}{what}" for direction in _INSTRUCTIONS for what in (".median_ms", " of floor", ".scratch_mib")),
    *("value_error", "gradient_error", "correct", "failed", *(f"{direction}.error" for direction in _INSTRUCTIONS)),
)

Scan = Callable[..., Any]  # takes the arguments of `ss2d_scan`


def contenders() -> dict[str, Scan]:
    """The scans to measure by name: those of --implementations, and `associative` with each size of --chunks.

    Raises:
        UserError: --implementations names one that does not run here.
    """
    platform = export.default_export_platform()
    here = [name for name in SCANS.names() if choice.runs_here(name)]
    chosen = _IMPLEMENTATIONS.value or choice.ranked(platform)
    if unknown := set(chosen) - set(here):
        raise UserError(f"--implementations names {min(unknown)!r}; {platform} has {', '.join(here)}")
    named = {name: functools.partial(ss2d_scan, implementation=name) for name in chosen}
    chunks = {f"associative, {chunk}": functools.partial(_associative, chunk) for chunk in _CHUNKS.value}
    return named | {name: _in_dtype(scan) for name, scan in chunks.items()}


def with_tilings(scans: Mapping[str, Scan], work: Workload, batch: int) -> dict[str, Scan]:
    """The contenders, and the kernels among them with each entry of `TILINGS` that changes them for this batch size."""
    found = dict(scans)
    for name in [name for name in scans if name.startswith("pallas")]:
        default = plan(range(DIRECTIONS), work.h, work.w, work.d, work.n, work.rank, name == "pallas_interpret")
        known = [default.for_batch(batch)]
        for title, fields in TILINGS.items():
            scan = dataclasses.replace(default, **fields)
            cut = dataclasses.replace(scan.for_batch(batch), schedulers=default.schedulers)
            if cut not in known:
                found[f"{name}, {title}"] = _in_dtype(functools.partial(pallas_triton.ss2d, scan=scan))
                known.append(cut)
    return found


def _associative(chunk: str, u: Array, *others: Array) -> Array:
    size = u.shape[1] * u.shape[2] if chunk == "whole" else int(chunk)
    return by_sequence.ss2d(functools.partial(associative.scan, chunk=size), u, *others)


def _in_dtype(scan: Scan) -> Scan:
    """A scan whose fp32 result is cast to the dtype of its input, as `ss2d_scan` does."""
    return lambda u, *others: scan(u, *others).astype(u.dtype)


def with_gradients(scan: Scan) -> Callable[..., tuple[Array, tuple[Array, ...]]]:
    """A function of the scan's arguments that returns y and the gradients, with y as its own cotangent."""

    def run(*arguments: Array) -> tuple[Array, tuple[Array, ...]]:
        y, pullback = jax.vjp(scan, *arguments)
        return y, pullback(y)

    return run


def errors(scan: Scan, work: Workload, batch: int, dtype: jnp.dtype) -> dict[str, Any]:
    """The largest error of values and of gradients against the fp32 loop, relative to the largest entry.

    If the scan raises an error, its message takes the place of the errors.
    """
    arguments, (true_y, true_gradients) = _truth(work, min(batch, _LARGEST_CHECKED_BATCH), dtype)
    try:
        y, gradients = jax.block_until_ready(jax.jit(with_gradients(scan))(*arguments))
    except Exception as error:  # see `times`
        return {"value_error": None, "gradient_error": None, "correct": False, "failed": measure.reason(error)}
    value = _relative(y, true_y)
    gradient = max(_relative(ours, true) for ours, true in zip(gradients, true_gradients, strict=True))
    value_limit, gradient_limit = _ERROR_LIMITS[dtype.itemsize]
    correct = value < value_limit and gradient < gradient_limit
    return {"value_error": value, "gradient_error": gradient, "correct": correct}


@functools.lru_cache(maxsize=1)
def _truth(work: Workload, batch: int, dtype: jnp.dtype) -> tuple[list[Array], Any]:
    """The arguments of a workload, and the fp32 loop's values and gradients, which every contender must match."""
    arguments = work.arguments(batch, dtype, jax.random.key(1))
    loop = jax.jit(with_gradients(functools.partial(ss2d_scan, implementation="sequential")))
    return arguments, loop(*(x.astype(jnp.float32) for x in arguments))


def _relative(found: Array, true: Array) -> float:
    return float(jnp.max(jnp.abs(found.astype(jnp.float32) - true)) / jnp.max(jnp.abs(true)))


def floor_ms(work: Workload, batch: int, size: int, direction: str, bytes_a_second: float) -> float:
    """The least possible time in milliseconds, bound by memory bandwidth or, on a GPU, by instruction issue.

    Forward reads u and proj and writes y for four directions. Backward reads these, dy and the checkpoints, and writes
    and rereads the gradients of u and delta for four directions.

    Args:
        size: bytes per activation.
        direction: "forward" or "forward+backward".
        bytes_a_second: the memory bandwidth.
    """
    tokens = batch * work.h * work.w
    maps, proj, checkpoints = tokens * work.d * size, tokens * 4 * (work.rank + 2 * work.n) * size, tokens * work.d * 2
    moved = 5 * maps + proj
    if direction != "forward":
        moved += 18 * maps + 2 * proj + 2 * checkpoints
    clock_mhz = gpu_property("clocks.max.sm")
    issue_ms = 0.0
    if clock_mhz is not None:
        a_second = jax.devices()[0].core_count * 4 * float(clock_mhz) * 1e6
        issue_ms = tokens * 4 * work.d / 32 * _INSTRUCTIONS[direction] / a_second * 1e3
    return max(moved / bytes_a_second * 1e3, issue_ms)


def times(
    scans: Mapping[str, Scan], gradients: bool, work: Workload, batch: int, dtype: jnp.dtype
) -> dict[str, dict[str, Any]]:
    """By contender: its times and its scratch memory, or its error."""
    arguments = work.arguments(batch, dtype, jax.random.key(0))
    activations, weights = arguments[:2], arguments[2:]
    n_inputs = measure.n_inputs(sum(x.nbytes for x in activations))
    inputs = [[jnp.roll(x, i, axis=2) for x in activations] for i in range(n_inputs)]
    compiled, found = {}, {}
    for name, scan in scans.items():
        try:
            function = jax.jit(with_gradients(scan) if gradients else scan).lower(*arguments).compile()
            jax.block_until_ready(function(*arguments))
            compiled[name] = function
        except Exception as error:  # too little memory, or a kernel that does not compile
            found[name] = {"error": measure.reason(error)}
    calls = {name: lambda i, run=run: run(*inputs[i % n_inputs], *weights) for name, run in compiled.items()}
    all_ms = measure.times_ms(calls, measure.REPEATS.value)
    for name, run in compiled.items():
        scratch_mib = run.memory_analysis().temp_size_in_bytes / 2**20
        found[name] = measure.summary_ms(all_ms[name]) | {"scratch_mib": scratch_mib}
    return found


def rows(
    scans: Mapping[str, Scan], name: str, work: Workload, batch: int, dtype: jnp.dtype, bandwidth: float
) -> list[dict[str, Any]]:
    """A row per contender for a workload and batch size, with what --measure names."""
    found: list[dict[str, Any]] = [{"workload": name, "batch": batch, "implementation": one} for one in scans]
    if "errors" in _MEASURES.value:
        found = [row | errors(scans[row["implementation"]], work, batch, dtype) for row in found]
    if "times" in _MEASURES.value:
        for direction in _INSTRUCTIONS:
            measured = times(scans, direction != "forward", work, batch, dtype)
            floor = {"floor_ms": floor_ms(work, batch, dtype.itemsize, direction, bandwidth)}
            found = [row | {direction: measured[row["implementation"]] | floor} for row in found]
    return found


def main() -> None:
    dtype = jnp.dtype(_DTYPE.value)
    scans = contenders()
    setting = {"dtype": _DTYPE.value, "d_state": _STATES.value, "measured": _MEASURES.value}
    setting["repeats"] = measure.REPEATS.value
    bandwidth, done = measure.copy_bandwidth(), measure.rows_so_far(setting)
    lines = measure.Lines("workload", "batch", "implementation", *_SHOWN)
    for batch, name in itertools.product(_BATCHES.value, _WORKLOADS.value):
        work = dataclasses.replace(WORKLOADS[name], n=_STATES.value)
        of_batch = with_tilings(scans, work, batch) if _TILINGS.value else scans
        others = [row for row in done if (row["workload"], row["batch"]) != (name, batch)]
        if of_batch.keys() <= {row["implementation"] for row in done if row not in others}:
            continue
        new = rows(of_batch, name, work, batch, dtype, bandwidth)
        done = others + new
        for row in new:
            timed = [direction for direction in _INSTRUCTIONS if "median_ms" in row.get(direction, {})]
            ratios = {f"{of} of floor": row[of]["floor_ms"] / row[of]["median_ms"] for of in timed}
            lines.print(row | ratios)
        measure.write(done, **setting, copy_bandwidth_gb_s=bandwidth / 1e9)
