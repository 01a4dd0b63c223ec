"""The four-direction scan: every implementation on the model's real shapes, checked and timed in one run.

python -m mamkpd_jax.bench scan --output=benchmarks/results/scan.json
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from jax import Array

from mamkpd_jax import cli
from mamkpd_jax.bench import measure
from mamkpd_jax.environment import environment, gpu_property
from mamkpd_jax.ops.selective_scan import IMPLEMENTATIONS, associative, by_sequence, ss2d_scan
from mamkpd_jax.ops.selective_scan.workloads import WORKLOADS, Workload

_WORKLOADS = flags.DEFINE_list("workloads", list(WORKLOADS), "Names of ops/selective_scan/workloads.py.")
_BATCHES = cli.define_whole_numbers("batches", [1, 64, 256], "Batch sizes.")
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["bfloat16", "float16", "float32"], "Of the activations.")
_STATES = flags.DEFINE_integer("d_state", 1, "States a channel.", lower_bound=1, upper_bound=16)
_CHUNKS = flags.DEFINE_list(
    "chunks", ["16", "256", "whole"], "Tokens a chunk of `associative`, which is timed with its default too."
)

_ERROR_LIMITS = {4: (2e-6, 1e-5), 2: (1e-2, 2e-2)}  # of values and gradients, by bytes of an activation
_LARGEST_CHECKED_BATCH = 64  # no larger one is cut for the kernels in another way
# What a kernel at the bounds of its design issues for 32 channels, a token and a direction (`kernel_report`).
_INSTRUCTIONS = {"forward": 40, "forward+backward": 120}

Scan = Callable[..., Any]  # of `ss2d_scan`'s arguments


def contenders(chunks: Sequence[str]) -> dict[str, Scan]:
    """All that run on this device, by name, with the signature of `ss2d_scan`; `associative` in these chunks too."""
    platform = jax.default_backend()
    named = {
        name: functools.partial(ss2d_scan, implementation=name)
        for name, implementation in IMPLEMENTATIONS.items()
        if implementation.platform in (None, platform) and name != "pallas_interpret"
    }
    return named | {f"associative, {chunk}": functools.partial(_associative, chunk) for chunk in chunks}


def _associative(chunk: str, u: Array, proj: Array, dt_weight: Array, dt_bias: Array, A_log: Array, D: Array) -> Array:
    scan = functools.partial(associative.scan, chunk=u.shape[1] * u.shape[2] if chunk == "whole" else int(chunk))
    y = by_sequence.ss2d(scan, u, proj, dt_weight, dt_bias, -jnp.exp(A_log))
    return (y + u.astype(jnp.float32) * jnp.sum(D, axis=0)).astype(u.dtype)


def with_gradients(scan: Scan) -> Callable[..., tuple[Array, tuple[Array, ...]]]:
    """`(*arguments) -> (y, gradients)`, y serving as its own cotangent."""

    def run(*arguments: Array) -> tuple[Array, tuple[Array, ...]]:
        y, pullback = jax.vjp(scan, *arguments)
        return y, pullback(y)

    return run


def errors(scan: Scan, work: Workload, batch: int, dtype: jnp.dtype) -> dict[str, Any]:
    """Largest error of values and of gradients, relative to the largest entry, against the fp32 loop.

    A contender that fails has the reason in place of the errors.
    """
    arguments = work.arguments(min(batch, _LARGEST_CHECKED_BATCH), dtype, jax.random.key(1))
    truth = jax.jit(with_gradients(functools.partial(ss2d_scan, implementation="sequential")))
    try:
        y, gradients = jax.block_until_ready(jax.jit(with_gradients(scan))(*arguments))
    except Exception as error:  # as in `figures`
        return {"value_error": None, "gradient_error": None, "correct": False, "failed": str(error).splitlines()[0]}
    true_y, true_gradients = truth(*(x.astype(jnp.float32) for x in arguments))
    value = _relative(y, true_y)
    gradient = max(_relative(ours, true) for ours, true in zip(gradients, true_gradients, strict=True))
    value_limit, gradient_limit = _ERROR_LIMITS[dtype.itemsize]
    return {
        "value_error": value,
        "gradient_error": gradient,
        "correct": value < value_limit and gradient < gradient_limit,
    }


def _relative(found: Array, true: Array) -> float:
    return float(jnp.max(jnp.abs(found.astype(jnp.float32) - true)) / jnp.max(jnp.abs(true)))


def floor_ms(work: Workload, batch: int, size: int, direction: str, bytes_a_second: float) -> float:
    """What the device's memory or, on a GPU, its instruction issue allows at best; `size` bytes an activation.

    Forward reads u and proj and writes y of four directions; backward reads them, dy and the checkpoints, and writes
    and reads again the gradients of u and delta of four directions.
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


def figures(
    scans: Mapping[str, Callable[..., Any]], work: Workload, batch: int, dtype: jnp.dtype
) -> dict[str, dict[str, Any]]:
    """Times and the memory that it needs beside arguments and results by contender, or why it can't run."""
    arguments = work.arguments(batch, dtype, jax.random.key(0))
    activations, weights = arguments[:2], arguments[2:]
    n_inputs = measure.n_inputs(sum(x.nbytes for x in activations))
    inputs = [[jnp.roll(x, i, axis=2) for x in activations] for i in range(n_inputs)]
    compiled, failed = {}, {}
    for name, scan in scans.items():
        try:
            compiled[name] = jax.jit(scan).lower(*arguments).compile()
            jax.block_until_ready(compiled[name](*arguments))
        except Exception as error:  # too little memory, or a kernel that does not compile: a finding, not the end
            failed[name] = {"error": str(error).splitlines()[0]}
            compiled.pop(name, None)
    calls = {name: lambda i, run=run: run(*inputs[i % n_inputs], *weights) for name, run in compiled.items()}
    times = measure.times_ms(calls, measure.REPEATS.value)
    scratch = {name: run.memory_analysis().temp_size_in_bytes / 2**20 for name, run in compiled.items()}
    return failed | {name: measure.summary_ms(times[name]) | {"scratch_mib": scratch[name]} for name in compiled}


def main() -> None:
    dtype = jnp.dtype(_DTYPE.value)
    scans = contenders(_CHUNKS.value)
    bandwidth = measure.copy_bandwidth()
    result = {
        "environment": environment(),
        "dtype": _DTYPE.value,
        "d_state": _STATES.value,
        "copy_bandwidth_gb_s": bandwidth / 1e9,
        "rows": [],
    }
    print(
        f"{'workload':20}{'batch':>6}  {'implementation':20}{'forward ms':>12}{'of floor':>9}{'MiB':>7}"
        f"{'+backward ms':>14}{'of floor':>9}{'MiB':>7}{'value error':>13}{'gradient':>10}"
    )
    for name in _WORKLOADS.value:
        work = dataclasses.replace(WORKLOADS[name], n=_STATES.value)
        for batch in _BATCHES.value:
            checked = {contender: errors(scan, work, batch, dtype) for contender, scan in scans.items()}
            found = {
                "forward": figures(scans, work, batch, dtype),
                "forward+backward": figures({k: with_gradients(s) for k, s in scans.items()}, work, batch, dtype),
            }
            for contender in scans:
                row = {"workload": name, "batch": batch, "implementation": contender, **checked[contender]}
                for direction, by_contender in found.items():
                    floor = floor_ms(work, batch, dtype.itemsize, direction, bandwidth)
                    row[direction] = by_contender[contender] | {"floor_ms": floor}
                result["rows"].append(row)
                print(_line(row), flush=True)
                measure.write(result)


def _line(row: Mapping[str, Any]) -> str:
    line = f"{row['workload']:20}{row['batch']:6}  {row['implementation']:20}"
    for direction, width in (("forward", 12), ("forward+backward", 14)):
        found = row[direction]
        if "error" in found:
            line += f"{'failed':>{width}}{'':16}"
        else:
            of_floor = found["floor_ms"] / found["median_ms"]
            line += f"{found['median_ms']:{width}.3f}{of_floor:9.1%}{found['scratch_mib']:7.1f}"
    if "failed" in row:
        return f"{line}  {row['failed']}"
    return line + f"{row['value_error']:13.1e}{row['gradient_error']:10.1e}{'' if row['correct'] else '  WRONG'}"
