"""Shared by the benchmarks: flags, timing, and result files."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from mamkpd_jax.bench.markdown import cell, flat
from mamkpd_jax.environment import environment
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import write_json

# allow_override: several benchmarks define flags of the same name, and tests import them into one process.
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write the results to.", allow_override=True)
REPEATS = flags.DEFINE_integer("repeats", 60, "Number of timed rounds, after three warm-up rounds.", lower_bound=2)
_PEAK = flags.DEFINE_float("peak_tflops", None, "The device's peak dense bfloat16 rate for the MFU, in TFLOP/s.")


def define_variants(default: list[str]) -> flags.FlagHolder[list[str]]:
    """The flag `--variants`."""
    return flags.DEFINE_list("variants", default, "Variants of the model, such as small.", allow_override=True)


def define_dtype(*dtypes: str) -> flags.FlagHolder[str]:
    """The flag `--dtype`, by default the first of `dtypes`."""
    return flags.DEFINE_enum("dtype", dtypes[0], dtypes, "Data type of the activations.", allow_override=True)


def define_minutes() -> flags.FlagHolder[float]:
    """The flag `--minutes`."""
    text = "Minutes after which the work stops; the same command resumes it."
    return flags.DEFINE_float("minutes", 9.0, text, allow_override=True)


# Environment fields that must be equal for all rows of a result.
_WHERE = ("device", "n_devices", "driver", "processor", "cores", "commit", "variables")
_BEYOND_CACHES = 2**27  # bytes that fit into no cache
# Source: NVIDIA's data sheets, dense bfloat16 with fp32 accumulation.
_PEAK_TFLOPS = {
    "NVIDIA A100-SXM4-80GB": 312.0,
    "NVIDIA H100 80GB HBM3": 989.0,
    "NVIDIA H200": 989.0,
    "NVIDIA GeForce RTX 4090": 165.2,
}


def mfu(flop_per_s: float) -> float | None:
    """Model FLOP utilization: a rate over the device's bfloat16 peak, for every dtype; None if the peak is unknown."""
    peak_tflops = _PEAK.value or _PEAK_TFLOPS.get(jax.devices()[0].device_kind)
    return None if peak_tflops is None else flop_per_s / 1e12 / peak_tflops


def n_inputs(n_bytes: int) -> int:
    """How many inputs of a size to alternate so that none is still in a cache when it is used again."""
    return min(REPEATS.value, 1 + _BEYOND_CACHES // n_bytes)


def copy_bandwidth() -> float:
    """The bandwidth of a large elementwise copy on the default device: bytes read and written per second."""
    megabytes = 1024 if jax.default_backend() == "gpu" else 64
    x = jnp.ones((megabytes * 2**18,), jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    seconds = statistics.median(times_ms({"copy": lambda _: copy(x)}, repeats=10)["copy"]) / 1e3
    return 2 * x.nbytes / seconds


def times_ms(contenders: Mapping[str, Callable[[int], Any]], repeats: int, warmups: int = 3) -> dict[str, list[float]]:
    """Times of each contender in milliseconds; contenders take turns, so that drift affects all of them alike.

    An untimed call precedes every timed one: the contender before may leave cold caches and busy threads.

    Args:
        contenders: functions of the number of the call.
        repeats: timed rounds.
        warmups: untimed rounds before them.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(repeats + warmups):
        for name, function in contenders.items():
            jax.block_until_ready(function(2 * i))
            start = time.perf_counter()
            jax.block_until_ready(function(2 * i + 1))
            if i >= warmups:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times


def summary_ms(times: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile, and the median of each half, which shows drift."""
    half = len(times) // 2
    return {
        "median_ms": statistics.median(times),
        "first_half_ms": statistics.median(times[:half] or times),
        "second_half_ms": statistics.median(times[half:]),
        "p95_ms": sorted(times)[int(0.95 * (len(times) - 1))],
    }


def rows_so_far(setting: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows in the file of `--output` if they have this environment, commit and setting; else none.

    Raises:
        UserError: the file is not a benchmark result.
    """
    if _OUTPUT.value is None or not Path(_OUTPUT.value).exists():
        return []
    try:
        result = json.loads(Path(_OUTPUT.value).read_bytes())
        rows, where = list(result["rows"]), environment()
        was = result["environment"]
        # Rows with and without PyTorch may share a file: a process that times JAX alone loads no PyTorch.
        same = all(was.get(name) == where[name] for name in _WHERE) and (
            was.get("torch") == where["torch"] or None in (was.get("torch"), where["torch"])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"--output: {_OUTPUT.value} is not a benchmark result; give another file") from error
    return rows if same and all(result.get(name) == value for name, value in setting.items()) else []


def write(rows: Any, **about: Any) -> None:
    """Writes rows, the environment and further fields `about` to the JSON file of `--output`, if it is given."""
    if _OUTPUT.value is not None:
        write_json(Path(_OUTPUT.value), {"environment": environment(), **about, "rows": rows})


def reason(error: Exception) -> str:
    """The first line of an error's message: why a contender has no measurement, usually too little memory."""
    return (str(error) or repr(error)).splitlines()[0]


class Lines:
    """Prints rows one by one as lines of a table. A dot in a column's name separates the levels of a nested value."""

    def __init__(self, *columns: str):
        self._widths = {name: 0 for name in columns}

    def print(self, row: Mapping[str, Any]) -> None:
        """Prints a row, and the header before the first one."""
        values = {name: value for name, value in flat(row).items() if value is not None}
        lines = [{name: cell(values.get(name, "-")) for name in self._widths}]
        if not any(self._widths.values()):
            lines.insert(0, {name: name for name in self._widths})
        for line in lines:
            self._widths = {name: max(width, len(line[name])) for name, width in self._widths.items()}
        for line in lines:
            print("  ".join(f"{line[name]:{width}}" for name, width in self._widths.items()).rstrip(), flush=True)
