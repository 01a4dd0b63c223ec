"""Compares this checkout's speed with another's: the forward pass and the training step.

git worktree add ../old 9e0c1b9
mamkpd bench against --other=../old --output=benchmarks/results/against_cpu.json

Each checkout has its own process, with this Python and the same random inputs; the processes take turns. A ratio is
this checkout's time divided by the other's, as the median of all rounds. `small-onnx-1` needs the extra `onnx`.
"""

import importlib
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from absl import flags

from mamkpd_jax.bench import against_worker, measure, repository
from mamkpd_jax.bench.against_worker import CASES
from mamkpd_jax.bench.without import PARTS, as_text, by_part
from mamkpd_jax.environment import commit
from mamkpd_jax.errors import UserError

_OTHER = flags.DEFINE_string("other", None, "The other checkout's folder.", required=True)
_CASES = flags.DEFINE_list("cases", list(CASES), "The cases to time.", allow_override=True)
_PARTS = flags.DEFINE_bool("parts", False, "Time each part of the model, too.", allow_override=True)


def _start_worker(folder: Path, case: str, part: str | None) -> subprocess.Popen[str]:
    """Starts the worker process of a checkout for a case; it leaves `part` out of the model."""
    command = [sys.executable, against_worker.__file__, str(folder), case, *([part] if part else [])]
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ms(process: subprocess.Popen[str]) -> float:
    """The milliseconds of one call in a worker process, which makes an untimed call before it."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise UserError(f"a worker process ended early ({process.args}); its error is above")
    return float(answer)


def row(case: str) -> dict[str, Any]:
    """The row of a case: its times in both checkouts and their ratio."""
    folders = {"this": repository.root(), "other": Path(_OTHER.value).resolve()}
    parts = (None, *PARTS) if _PARTS.value and CASES[case].what != "onnx" else (None,)
    processes = {(name, part): _start_worker(folder, case, part) for part in parts for name, folder in folders.items()}
    try:
        for process in processes.values():  # not in parallel: the first call compiles
            _ms(process)
        rounds = [{key: _ms(process) for key, process in processes.items()} for _ in range(measure.REPEATS.value)]
    finally:
        for process in processes.values():
            process.communicate()
    times = {key: [one[key] for one in rounds] for key in processes}
    ratios = sorted(one["this", None] / one["other", None] for one in rounds)
    quartiles = [ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]]
    about: dict[str, Any] = {"case": case, "ratio": statistics.median(ratios), "quartiles": quartiles}
    for name in folders:
        about[name] = measure.summary_ms(times[name, None])
        if len(parts) > 1:
            lacking = {part: statistics.median(times[name, part]) for part in PARTS}
            about[name]["parts_ms"] = by_part(about[name]["median_ms"], lacking)
    return about


def main() -> None:
    if unknown := set(_CASES.value) - set(CASES):
        raise UserError(f"--cases names {min(unknown)!r}; expected some of {', '.join(CASES)}")
    other = commit(Path(_OTHER.value).resolve() / "mamkpd_jax")
    if other is None:
        raise UserError(
            f"--other names {_OTHER.value}, which is not a checkout of this project; make one with git worktree add"
        )
    if any(CASES[case].what == "onnx" for case in _CASES.value):
        importlib.import_module("onnxruntime")  # fails before anything is timed
    rows = []
    for case in _CASES.value:
        rows.append(row(case))
        print("{case:24} ratio {ratio:.3f}, quartiles {quartiles[0]:.3f} to {quartiles[1]:.3f}".format(**rows[-1]))
        for name in ("this", "other"):
            if parts := rows[-1][name].get("parts_ms"):
                print(f"{name:>24} ms: {as_text(parts)}")
        measure.write(rows, other=other)
