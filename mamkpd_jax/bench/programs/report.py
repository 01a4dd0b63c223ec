"""Writes the tables of README.md and docs/accuracy.png from the files of results.

mamkpd bench report

A table stands between `<!-- NAME -->` and `<!-- end -->`. Missing results read `not measured`.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mamkpd_jax.bench import repository
from mamkpd_jax.bench.goals import GOALS, NOT_MEASURED, Row, fastest, mean
from mamkpd_jax.bench.markdown import table
from mamkpd_jax.bench.peers import PEERS
from mamkpd_jax.plots.plot import COLOURS, new_figure

_MODELS = ("small", "base", "large", *PEERS)
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


class Column(NamedTuple):
    """A column of a table: its title, the file that it is of, and what it shows of the file's rows of one model."""

    title: str
    file: str
    shown: Callable[[Sequence[Row]], str]


def _median_ms(batch: int) -> Callable[[Sequence[Row]], str]:
    return lambda rows: f"{fastest(rows, batch)['median_ms']:.3g} ms"


def _crops_per_s(batch: int) -> Callable[[Sequence[Row]], str]:
    return lambda rows: f"{fastest(rows, batch)['crops_per_s']:.3g} /s"


def _score(rows: Sequence[Row]) -> str:
    row = rows[0]
    spread = f" ({row['lowest']:.1f} to {row['highest']:.1f}, {row['seeds']} seeds)" if row["seeds"] > 1 else ""
    return f"{mean(row):.1f}{spread}"


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


def rendered(readme: str, results: Path) -> str:
    """README.md with its tables as the result files of a folder have them now."""
    tables = {
        name: [
            {"model": model, **{column.title: _cell(column, model, results) for column in columns}} for model in models
        ]
        for name, (models, columns) in TABLES.items()
    }
    for name, rows in {**tables, "goals": [goal.row(results) for goal in GOALS]}.items():
        block = f"<!-- {name} -->\n\n{table({'rows': rows})}\n\n<!-- end -->"
        readme, found = re.subn(rf"<!-- {name} -->.*?<!-- end -->", lambda _, new=block: new, readme, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"README.md has {found} places for the table {name}; expected one")
    return readme


def _cell(column: Column, model: str, results: Path) -> str:
    try:
        rows = json.loads((results / column.file).read_bytes())["rows"]
        return column.shown([r for r in rows if r.get("model", r["contender"]).partition(":")[0] == model])
    except (OSError, IndexError, KeyError, ValueError):
        return NOT_MEASURED


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
    results, readme = repository.results(), repository.root() / "README.md"
    readme.write_text(rendered(readme.read_text(encoding="utf-8"), results), encoding="utf-8")
    runs = json.loads((results / _CURVES).read_bytes())["runs"]
    curves(runs).savefig(repository.root() / "docs" / "accuracy.png", dpi=110)
