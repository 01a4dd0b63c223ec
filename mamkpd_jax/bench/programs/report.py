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
_ABLATIONS = ("base", "without_stem", "without_cmm", "patch_merging", "without_stem_and_cmm")
_ABLATIONS += tuple(f"ablation_{letter}" for letter in "abcd")
_FEW = 20  # points that are marked one by one
_CURVES = "accuracy_lspet_narrow.json"


class Column(NamedTuple):
    """A column of a table: its title, the file that it is of, and what it shows of the file's rows of one model."""

    table: str
    title: str
    file: str
    shown: Callable[[Sequence[Row]], str]


def _fastest(batch: int, value: str, unit: str) -> Callable[[Sequence[Row]], str]:
    return lambda rows: f"{fastest(rows, batch)[value]:.3g} {unit}"


def _score(rows: Sequence[Row]) -> str:
    row = rows[0]
    spread = f" ({row['lowest']:.1f} to {row['highest']:.1f}, {row['seeds']} seeds)" if row["seeds"] > 1 else ""
    return f"{mean(row):.1f}{spread}"


def _size(rows: Sequence[Row]) -> str:
    return f"{rows[0]['parameters'] / 1e6:.3g} M, {rows[0]['GMACs']:.3g} GMACs"


_MODELS_OF = {"speed": _MODELS, "accuracy": _MODELS, "ablations": _ABLATIONS}  # the rows of each table
_COLUMNS = (
    Column("speed", "size", "speed_cpu.json", _size),
    Column("speed", "2 CPU cores, batch 1", "speed_cpu.json", _fastest(1, "median_ms", "ms")),
    Column("speed", "2 CPU cores, batch 8", "speed_cpu.json", _fastest(8, "crops_per_s", "/s")),
    Column("speed", "GPU, batch 1", "speed_gpu.json", _fastest(1, "median_ms", "ms")),
    Column("speed", "GPU, batch 64", "speed_gpu.json", _fastest(64, "crops_per_s", "/s")),
    Column("speed", "GPU, batch 256", "speed_gpu.json", _fastest(256, "crops_per_s", "/s")),
    Column("accuracy", "size, narrow, of lspet", "accuracy_lspet_narrow.json", _size),
    Column("accuracy", "lspet, narrow", "accuracy_lspet_narrow.json", _score),
    Column("accuracy", "animalpose, narrow", "accuracy_animalpose_narrow.json", _score),
    Column("accuracy", "lspet, full size", "accuracy_lspet.json", _score),
    Column("accuracy", "animalpose, full size", "accuracy_animalpose.json", _score),
    Column("ablations", "size, narrow", "ablations_lspet_narrow.json", _size),
    Column("ablations", "lspet, narrow", "ablations_lspet_narrow.json", _score),
    Column("ablations", "lspet, full size", "ablations_lspet.json", _score),
)


def rendered(readme: str, results: Path) -> str:
    """README.md with its tables as the result files of a folder have them now."""
    tables: dict[str, list[dict[str, str]]] = {}
    for name, models in _MODELS_OF.items():
        columns = [column for column in _COLUMNS if column.table == name]
        tables[name] = [{"model": one} | {c.title: _cell(c, one, results) for c in columns} for one in models]
    tables["goals"] = [goal.row(results) for goal in GOALS]
    for name, rows in tables.items():
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
