"""Writes the tables and plots of README.md and docs/ from the result files.

mamkpd bench report

A table is between `<!-- NAME -->` and `<!-- end -->`. Columns and rows without a result are left out.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mamkpd_jax.bench import repository
from mamkpd_jax.bench.tables import tables
from mamkpd_jax.plots.plot import COLOURS, new_figure

PAGES = ("README.md", "docs/benchmarks.md", "docs/paper.md")
_BLOCK = re.compile(r"<!-- (\w+) -->\n.*?<!-- end -->", re.DOTALL)
_FEW = 20  # points that are marked one by one
_CURVES, _SPEED = "accuracy_lspet_narrow.json", "speed_cpu.json"


def rendered(page: str, made: Mapping[str, str]) -> str:
    """A page with its tables replaced by those of their names; raises ValueError for a name that is unknown."""

    def block(match: re.Match[str]) -> str:
        if match[1] not in made:
            raise ValueError(f"the page has a table {match[1]!r}; expected one of {', '.join(made)}")
        return f"<!-- {match[1]} -->\n\n{made[match[1]]}\n\n<!-- end -->"

    return _BLOCK.sub(block, page)


def curves(runs: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss and score by step: a line for each run, a colour for each contender."""
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


def throughput(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Crops per second of each contender, a panel for each batch size, the fastest at the top."""
    batches = sorted({row["batch"] for row in rows})
    figure = new_figure(8.0, 2.6)
    for axes, batch in zip(figure.subplots(1, len(batches), squeeze=False)[0], batches, strict=True):
        of_batch = sorted((row for row in rows if row["batch"] == batch), key=lambda row: row["crops_per_s"])
        colours = [COLOURS[1] if "torch" in row["contender"] else COLOURS[0] for row in of_batch]
        bars = axes.barh([row["model"] for row in of_batch], [row["crops_per_s"] for row in of_batch], color=colours)
        axes.bar_label(bars, fmt="%.1f", padding=2)
        axes.margins(x=0.2)
        axes.set(title=f"batch {batch}", xlabel="crops per second")
    lines = [Line2D([], [], color=colour, linewidth=6) for colour in COLOURS[:2]]
    figure.legend(lines, ["MamKPD in JAX", "peers in PyTorch, compiled"], loc="outside lower center", ncols=2)
    return figure


def main() -> None:
    results, root = repository.results(), repository.root()
    made = tables(results)
    for page in (root / name for name in PAGES):
        page.write_text(rendered(page.read_text(encoding="utf-8"), made), encoding="utf-8")
    runs = json.loads((results / _CURVES).read_bytes())["runs"]
    curves(runs).savefig(root / "docs" / "accuracy.png", dpi=110)
    rows = json.loads((results / _SPEED).read_bytes())["rows"]
    throughput(rows).savefig(root / "docs" / "throughput.png", dpi=110)
