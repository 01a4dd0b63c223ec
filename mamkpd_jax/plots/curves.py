"""Training curves from the metrics logs of runs."""

import json
import math
from pathlib import Path
from typing import Any

from absl import logging
from matplotlib.figure import Figure

from mamkpd_jax.errors import UserError
from mamkpd_jax.plots.plot import COLOURS, new_figure

_FILE = "metrics.jsonl"
_COLUMNS = 3
_FEW = 50  # below this number each value has a marker: a line would not show a value between two gaps
# Metrics that change by orders of magnitude.
_LOGARITHMIC = ("train/loss", "train/learning_rate", "train/grad_norm")

# By name, the values by step; names in the order in which they were first logged.
Series = dict[str, dict[int, float]]


def read_metrics(workdir: Path) -> Series:
    """The metrics that a run logged; for a step that was repeated after an interruption, the last values.

    An incomplete last line is skipped, as the run may still be writing it.

    Args:
        workdir: the run directory.

    Raises:
        UserError: the log is missing, empty or damaged.
    """
    path = workdir / _FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read ({error}); give the directory of a training run") from error
    series: Series = {}
    for i, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            step = int(record["step"])
            values = {name: float(value) for name, value in record.items() if name.startswith(("train/", "eval/"))}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if i == len(lines):
                logging.warning("%s: the last line is incomplete and is skipped", path)
                continue
            raise UserError(f"{path}, line {i}: not the record of a step ({error}); remove the line") from error
        for name, value in values.items():
            series.setdefault(name, {})[step] = value
    if not series:
        raise UserError(f"{path} has no metrics yet; wait until the run has logged some")
    return series


def curves(runs: dict[str, Series]) -> Figure:
    """A panel per metric with a curve per run: all training metrics and each run's first evaluation metric.

    A non-finite value leaves a gap, marked by a dotted line.

    Args:
        runs: the metrics of each run, by the name in the legend.
    """
    names = list(dict.fromkeys(name for series in runs.values() for name in series))
    evaluated = [next((name for name in series if name.startswith("eval/")), None) for series in runs.values()]
    panels = [name for name in names if name.startswith("train/")] + list(dict.fromkeys(filter(None, evaluated)))
    rows = math.ceil(len(panels) / _COLUMNS)
    figure = new_figure(3.6 * _COLUMNS, 2.6 * rows)
    for i, name in enumerate(panels):
        axes = figure.add_subplot(rows, _COLUMNS, i + 1)
        for (run, series), colour in zip(runs.items(), COLOURS * len(runs), strict=False):
            _draw(axes, run, series.get(name, {}), colour)
        if name in _LOGARITHMIC:
            axes.set_yscale("log")
        axes.set(title=name, xlabel="step")
        axes.grid(alpha=0.3)
    if len(runs) > 1:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(runs))
    return figure


def _draw(axes: Any, run: str, values: dict[int, float], colour: str) -> None:
    steps = sorted(values)
    marker = "o" if len(steps) < _FEW else None
    axes.plot(steps, [values[step] for step in steps], color=colour, marker=marker, markersize=3, label=run)
    for step in steps:
        if not math.isfinite(values[step]):
            axes.axvline(step, color=colour, linestyle=":", linewidth=1)
