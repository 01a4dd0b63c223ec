"""The summary page of `make gpu`: the state of its parts, the goals that need a GPU, and the measurements."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamkpd_jax.bench.goals import GOALS
from mamkpd_jax.bench.markdown import flat, table

_GPU_FILES = ("speed_gpu.json", "accuracy_lspet.json", "accuracy_animalpose.json")
_OF_SCAN = ("workload", "batch", "implementation", "forward.median_ms", "forward+backward.median_ms")
# Title, result file, columns. A dot separates the levels of a nested value; no columns means all columns.
_TABLES = (
    ("Forward pass", "speed_gpu.json", ("contender", "batch", "median_ms", "crops_per_s", "memory_mib", "error")),
    ("Training step", "step.json", ("batch", "input", "images_per_s", "data_wait", "mfu", "peak_memory_gib", "error")),
    ("Base on lspet", "accuracy_lspet.json", ()),
    ("Base on animalpose", "accuracy_animalpose.json", ()),
    ("Scan", "scan.json", _OF_SCAN),
    ("Scan, other tilings of the kernels", "scan_tilings.json", _OF_SCAN),
)


def summary(parts: Mapping[str, Mapping[str, Any]], work: Path, *, rehearsal: bool) -> str:
    """The page in Markdown, from the state of the parts and the result files in `work`."""
    results = {file.name: json.loads(file.read_bytes()) for file in sorted(work.glob("*.json"))}
    where = next((result["environment"] for result in results.values() if "environment" in result), None)
    device = "nothing yet" if where is None else "{device}, driver {driver}, commit {commit}".format(**where)
    lines = [f"# Measured: {device}", ""]
    lines += [table({"rows": [{"part": name, **about} for name, about in parts.items()]}), ""]
    if rehearsal:
        lines += ["**A rehearsal on a CPU at tiny sizes: its numbers mean nothing.**", ""]
    else:
        lines += ["## Goals", "", table({"rows": [goal.row(work) for goal in GOALS if goal.file in _GPU_FILES]}), ""]
    lines += ["## Correctness of the kernels", "", *_correctness(results), ""]
    for title, file, columns in _TABLES:
        if rows := [flat(row) for row in results.get(file, {}).get("rows", [])]:
            shown = [name for name in columns if any(name in row for row in rows)]
            lines += [f"## {title}", "", table({"rows": rows}, shown), ""]
    return "\n".join(lines)


def _correctness(results: Mapping[str, Any]) -> list[str]:
    lines = []
    for file, result in results.items():
        if file.startswith("kernels_"):
            rows = result["rows"]
            wrong = [f"{row['workload']}, batch {row['batch']}" for row in rows if not row["correct"]]
            worst = max((row["gradient_error"] or 0.0 for row in rows), default=0.0)
            line = f"- {result['dtype']}: {len(rows) - len(wrong)} of {len(rows)} within the limits, "
            line += f"largest error of a gradient {worst:.1e}"
            lines.append(line + (f"; wrong or failed: {'; '.join(wrong)}" if wrong else ""))
    return lines or ["not measured"]
