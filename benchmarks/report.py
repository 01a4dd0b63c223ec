"""Writes the tables of README.md that compare contenders, and docs/accuracy.png, from benchmarks/results/.

python -m benchmarks.report

A table stands between `<!-- NAME -->` and `<!-- end -->`. What no result file has is `not measured`.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mamkpd_jax.bench.markdown import table
from mamkpd_jax.plots.plot import COLOURS, new_figure

_ROOT = Path(__file__).resolve().parents[1]
_RESULTS = Path(__file__).parent / "results"
_PEERS = ("simple_baseline", "hrnet_w32", "vit_s")
_MODELS = ("small", "base", "large", *_PEERS)
_ABLATIONS = (
    "base",
    "without_stem",
    "without_cmm",
    "patch_merging",
    "without_stem_and_cmm",
    "ablation_a",
    "ablation_b",
    "ablation_c",
    "ablation_d",
)
_FEW = 20  # points that are marked one by one
_CURVES = "accuracy_lspet_narrow.json"
_NOT_MEASURED = "not measured"

Row = Mapping[str, Any]


class Column(NamedTuple):
    """A column of a table: its title, the file that it is of, and what it shows of the file's rows of one model."""

    title: str
    file: str
    shown: Callable[[Sequence[Row]], str]


def _median_ms(batch: int) -> Callable[[Sequence[Row]], str]:
    return lambda rows: f"{_fastest(rows, batch)['median_ms']:.3g} ms"


def _crops_per_s(batch: int) -> Callable[[Sequence[Row]], str]:
    return lambda rows: f"{_fastest(rows, batch)['crops_per_s']:.3g} /s"


def _fastest(rows: Sequence[Row], batch: int) -> Row:
    """Of a model's implementations the one that a user would take."""
    return max((row for row in rows if row["batch"] == batch), key=lambda row: row.get("crops_per_s", 0))


def _score(rows: Sequence[Row]) -> str:
    row = rows[0]
    spread = f" ({row['lowest']:.1f} to {row['highest']:.1f}, {row['seeds']} seeds)" if row["seeds"] > 1 else ""
    return f"{_mean(row):.1f}{spread}"


def _mean(row: Row) -> float:
    return next(value for name, value in row.items() if "@" in name or "/" in name)


def _size(rows: Sequence[Row]) -> str:
    return f"{rows[0]['parameters'] / 1e6:.3g} M, {rows[0]['GMACs']:.3g} GMACs"


TABLES: dict[str, tuple[Sequence[str], Sequence[Column]]] = {
    "speed": (
        _MODELS,
        (
            Column("size", "speed_cpu.json", _size),
            Column("2 CPU cores, batch 1", "speed_cpu.json", _median_ms(1)),
            Column("2 CPU cores, batch 8", "speed_cpu.json", _crops_per_s(8)),
            Column("GPU, batch 1", "speed_gpu.json", _median_ms(1)),
            Column("GPU, batch 64", "speed_gpu.json", _crops_per_s(64)),
            Column("GPU, batch 256", "speed_gpu.json", _crops_per_s(256)),
        ),
    ),
    "accuracy": (
        _MODELS,
        (
            Column("size, narrow, of lspet", "accuracy_lspet_narrow.json", _size),
            Column("lspet, narrow", "accuracy_lspet_narrow.json", _score),
            Column("animalpose, narrow", "accuracy_animalpose_narrow.json", _score),
            Column("lspet, full size", "accuracy_lspet.json", _score),
            Column("animalpose, full size", "accuracy_animalpose.json", _score),
        ),
    ),
    "ablations": (
        _ABLATIONS,
        (
            Column("size, narrow", "ablations_lspet_narrow.json", _size),
            Column("lspet, narrow", "ablations_lspet_narrow.json", _score),
            Column("lspet, full size", "ablations_lspet.json", _score),
        ),
    ),
}


class Goal(NamedTuple):
    """What was aimed at: a figure of a result file, which `least` or `most` bounds."""

    what: str
    file: str
    figure: Callable[[Mapping[str, Any]], float]  # of the file's content
    least: float = -math.inf
    most: float = math.inf

    def row(self, folder: Path | None = None) -> dict[str, str]:
        """What was aimed at and what came, by the result files of a folder, which is benchmarks/results by default."""
        bound = f"at least {self.least:,g}" if self.least > -math.inf else f"at most {self.most:,g}"
        try:
            found = self.figure(json.loads(((folder or _RESULTS) / self.file).read_bytes()))
        except (OSError, StopIteration, KeyError, ValueError):
            return {"goal": self.what, "bound": bound, "measured": _NOT_MEASURED, "met": ""}
        met = "yes" if self.least <= found <= self.most else "no"
        return {
            "goal": self.what,
            "bound": bound,
            "measured": f"{found:,.0f}" if abs(found) >= 1e3 else f"{found:.3g}",
            "met": met,
        }


def _of(model: str, batch: int, figure: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda result: _fastest([row for row in result["rows"] if row["model"] == model], batch)[figure]


def _ahead_at_speed(result: Mapping[str, Any]) -> float:
    """Base's speed at batch 256 over that of the fastest peer; all peers must be there, compiled."""
    compiled = {"rows": [row for row in result["rows"] if row["contender"].endswith("compiled")]}
    return _of("base", 256, "crops_per_s")(result) / max(_of(name, 256, "crops_per_s")(compiled) for name in _PEERS)


def _ahead_in_score(*peers: str, seeds: int = 3) -> Callable[[Mapping[str, Any]], float]:
    """Base's mean score less that of the best of the peers, each with so many seeds."""

    def figure(result: Mapping[str, Any]) -> float:
        rows = {row["contender"].partition(":")[0]: row for row in result["rows"] if row["seeds"] >= seeds}
        return _mean(rows["base"]) - max(_mean(rows[peer]) for peer in peers)

    return figure


def _of_run(figure: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda result: next(run[figure] for run in result["runs"] if run["contender"] == "base")


def _onnx_ms(result: Mapping[str, Any]) -> float:
    return next(row for row in result["rows"] if (row["contender"], row["batch"]) == ("onnxruntime", 1))["median_ms"]


_GPU, _LSPET = "speed_gpu.json", "accuracy_lspet.json"
GOALS = (
    Goal("Base, crops a second, batch 256", _GPU, _of("base", 256, "crops_per_s"), least=20_000),
    Goal("Small, the same", _GPU, _of("small", 256, "crops_per_s"), least=25_000),
    Goal("Large, the same", _GPU, _of("large", 256, "crops_per_s"), least=12_000),
    Goal("Base's over that of the fastest of the three peers, compiled", _GPU, _ahead_at_speed, least=1),
    Goal("Base, batch 1, median in ms", _GPU, _of("base", 1, "median_ms"), most=1),
    Goal("training Base, crops a second", _LSPET, _of_run("images_per_s"), least=5_000),
    Goal("part of the time that it waits for data", _LSPET, _of_run("data_wait"), most=0.05),
    Goal(
        "lspet: Base less the better of HRNet-W32 and SimpleBaseline, three seeds each",
        _LSPET,
        _ahead_in_score("hrnet_w32", "simple_baseline"),
        least=0,
    ),
    Goal(
        "animalpose: Base less SimpleBaseline, three seeds each",
        "accuracy_animalpose.json",
        _ahead_in_score("simple_baseline"),
        least=0,
    ),
    Goal(
        "lspet, narrow, on a CPU: Base less SimpleBaseline, three seeds each",
        _CURVES,
        _ahead_in_score("simple_baseline"),
        least=0,
    ),
    Goal(
        "animalpose, narrow, on a CPU: the same",
        "accuracy_animalpose_narrow.json",
        _ahead_in_score("simple_baseline"),
        least=0,
    ),
    Goal("Small as ONNX on two CPU cores, batch 1, median in ms", "export_cpu.json", _onnx_ms, most=60),
)


def rendered(readme: str) -> str:
    """README.md with its tables as the result files have them now."""
    tables = {
        name: [{"model": model, **{column.title: _cell(column, model) for column in columns}} for model in models]
        for name, (models, columns) in TABLES.items()
    }
    for name, rows in {**tables, "goals": [goal.row() for goal in GOALS]}.items():
        block = f"<!-- {name} -->\n\n{table({'rows': rows})}\n\n<!-- end -->"
        readme, found = re.subn(rf"<!-- {name} -->.*?<!-- end -->", lambda _, new=block: new, readme, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"README.md has {found} places for the table {name}; expected one")
    return readme


def _cell(column: Column, model: str) -> str:
    rows = [row for row in _rows(column.file) if row.get("model", row["contender"]).partition(":")[0] == model]
    try:
        return column.shown(rows)
    except (IndexError, KeyError, ValueError):
        return _NOT_MEASURED


def _rows(file: str) -> list[Row]:
    path = _RESULTS / file
    return json.loads(path.read_bytes())["rows"] if path.exists() else []


def curves(runs: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss and score over the steps: a line a run, a colour a contender."""
    figure = new_figure(8.0, 3.0)
    colours = dict(zip(dict.fromkeys(run["contender"] for run in runs), COLOURS, strict=False))
    for axes, name in zip(figure.subplots(1, 2), runs[0]["curves"], strict=True):
        for run in runs:
            steps, values = zip(*run["curves"][name], strict=True)
            axes.plot(steps, values, color=colours[run["contender"]], marker="o" if len(steps) < _FEW else None)
        axes.set(title=name.partition("/")[2], xlabel="step")
        axes.grid(alpha=0.3)
    lines = [Line2D([], [], color=colour) for colour in colours.values()]
    figure.legend(lines, colours, loc="outside lower center", ncols=len(colours))
    return figure


def main() -> None:
    readme = _ROOT / "README.md"
    readme.write_text(rendered(readme.read_text(encoding="utf-8")), encoding="utf-8")
    runs = json.loads((_RESULTS / _CURVES).read_bytes())["runs"]
    curves(runs).savefig(_ROOT / "docs" / "accuracy.png", dpi=110)


if __name__ == "__main__":
    main()
