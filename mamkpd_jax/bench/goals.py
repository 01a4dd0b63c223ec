"""The project's goals for speed and accuracy: bounds on measured values."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mamkpd_jax.bench.peers import PEERS

NOT_MEASURED = "not measured"

Row = Mapping[str, Any]


def fastest(rows: Sequence[Row], batch: int) -> Row:
    """The row with the highest throughput among those of a batch size.

    Raises:
        ValueError: no row has this batch size.
    """
    return max((row for row in rows if row["batch"] == batch), key=lambda row: row.get("crops_per_s", 0))


def mean(row: Row) -> float:
    """The mean score of a contender: the value whose name is that of a metric, with "@" or "/"."""
    return next(value for name, value in row.items() if "@" in name or "/" in name)


class Goal(NamedTuple):
    """A lower bound `least` or an upper bound `most` on a value of a result file."""

    what: str
    file: str
    value: Callable[[Mapping[str, Any]], float]  # reads the value from the file's content
    least: float = -math.inf
    most: float = math.inf

    def row(self, folder: Path) -> dict[str, str]:
        """The goal's row in the table of goals: bound, measured value, and whether it is met.

        Args:
            folder: the folder of result files.
        """
        bound = f"at least {self.least:,g}" if self.least > -math.inf else f"at most {self.most:,g}"
        try:
            found = self.value(json.loads((folder / self.file).read_bytes()))
        except (OSError, StopIteration, KeyError, ValueError):
            return {"goal": self.what, "bound": bound, "measured": NOT_MEASURED, "met": ""}
        measured = f"{found:,.0f}" if abs(found) >= 1e3 else f"{found:.3g}"
        met = "yes" if self.least <= found <= self.most else "no"
        return {"goal": self.what, "bound": bound, "measured": measured, "met": met}


def _of(model: str, batch: int, value: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda result: fastest([row for row in result["rows"] if row["model"] == model], batch)[value]


def _ahead_at_speed(result: Mapping[str, Any]) -> float:
    """Base's throughput at batch 256 divided by that of the fastest compiled peer.

    Raises:
        ValueError: Base or a peer was not measured.
    """
    compiled = {"rows": [row for row in result["rows"] if row["contender"].endswith("compiled")]}
    return _of("base", 256, "crops_per_s")(result) / max(_of(name, 256, "crops_per_s")(compiled) for name in PEERS)


def _ahead_in_score(*peers: str) -> Callable[[Mapping[str, Any]], float]:
    """A function for Base's mean score minus the best peer's, each over at least three seeds."""

    def lead(result: Mapping[str, Any]) -> float:
        rows = {row["contender"].partition(":")[0]: row for row in result["rows"] if row["seeds"] >= 3}
        return mean(rows["base"]) - max(mean(rows[peer]) for peer in peers)

    return lead


_ahead_of_both = _ahead_in_score("hrnet_w32", "simple_baseline")
_ahead_of_one = _ahead_in_score("simple_baseline")


def _of_run(value: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda result: next(run[value] for run in result["runs"] if run["contender"] == "base")


def _onnx_ms(result: Mapping[str, Any]) -> float:
    return next(row for row in result["rows"] if (row["contender"], row["batch"]) == ("onnxruntime", 1))["median_ms"]


_GPU, _LSPET, _ANIMALS = "speed_gpu.json", "accuracy_lspet.json", "accuracy_animalpose.json"
_NARROW_LSPET, _NARROW_ANIMALS = "accuracy_lspet_narrow.json", "accuracy_animalpose_narrow.json"
_SEEDS = "three seeds each"
GOALS = (
    Goal("Base: crops/s at batch 256", _GPU, _of("base", 256, "crops_per_s"), least=20_000),
    Goal("Small: crops/s at batch 256", _GPU, _of("small", 256, "crops_per_s"), least=25_000),
    Goal("Large: crops/s at batch 256", _GPU, _of("large", 256, "crops_per_s"), least=12_000),
    Goal("Base divided by the fastest compiled peer: crops/s at batch 256", _GPU, _ahead_at_speed, least=1),
    Goal("Base: median latency at batch 1 in ms", _GPU, _of("base", 1, "median_ms"), most=1),
    Goal("training Base: crops/s", _LSPET, _of_run("images_per_s"), least=5_000),
    Goal("training Base: share of the time spent waiting for data", _LSPET, _of_run("data_wait"), most=0.05),
    Goal(f"lspet: Base minus the better of HRNet-W32 and SimpleBaseline, {_SEEDS}", _LSPET, _ahead_of_both, least=0),
    Goal(f"animalpose: Base minus SimpleBaseline, {_SEEDS}", _ANIMALS, _ahead_of_one, least=0),
    Goal(f"lspet, narrow, on a CPU: Base minus SimpleBaseline, {_SEEDS}", _NARROW_LSPET, _ahead_of_one, least=0),
    Goal(f"animalpose, narrow, on a CPU: Base minus SimpleBaseline, {_SEEDS}", _NARROW_ANIMALS, _ahead_of_one, least=0),
    Goal(
        "Small in ONNX Runtime on two CPU cores: median latency at batch 1 in ms", "export_cpu.json", _onnx_ms, most=60
    ),
)
