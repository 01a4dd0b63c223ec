"""Measures the model on one GPU in a limited time, as `make gpu` does; benchmarks/notes.md explains it.

mamkpd bench gpu --data=../shared/data --work=runs/gpu/work --output=runs/gpu/out --seconds=540 [--part=peers]

The parts of gpu_parts.py run one after the other, each with a time limit. A part that fails or exceeds its limit does
not stop the others. The same command skips finished parts and resumes the others from their rows and checkpoints in
--work. results.json, log.txt and summary.md in --output are updated while the parts run.
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mamkpd_jax.bench import repository
from mamkpd_jax.bench.gpu_parts import ALL, PEERS, REHEARSAL, Part, Scale, Setting, Step
from mamkpd_jax.bench.gpu_summary import summary
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_write, write_json

_DATA = flags.DEFINE_string("data", None, "Folder with lspet/ and animalpose/, unpacked or zipped.", required=True)
_WORK = flags.DEFINE_string("work", None, "Folder for rows, checkpoints and compiled programs.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for results, log, summary.", required=True, allow_override=True)
_SECONDS = flags.DEFINE_float("seconds", 540.0, "Seconds for all parts, counted from --since.", lower_bound=1)
_SINCE = flags.DEFINE_float("since", None, "Start of the time limit, in Unix seconds. Default: now.")
_PART = flags.DEFINE_string("part", "all", "The parts to run: all, peers, or the name of one part.")
_REHEARSE = flags.DEFINE_bool("rehearse", False, "Run every part on a CPU at tiny sizes; its numbers mean nothing.")

_LIMITS_FOR_S = 540.0  # the time that the parts' limits assume; they scale with --seconds
_GRACE_S = 15.0  # between SIGTERM and SIGKILL, for train.py to save
_TICK_S = 10.0  # between updates of --output while a program runs
_LEAST_S = 5.0  # no program starts with less time left
_MAX_BYTES = 15 * 2**20  # of results.json and of log.txt
# Kills a program when the driver dies, as two programs must not train in one folder. 1 is PR_SET_PDEATHSIG, 9 SIGKILL.
_DIE_WITH_DRIVER = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
DONE, FAILED, UNFINISHED = "done", "failed", "unfinished"
RESULTS, LOG, SUMMARY = "results.json", "log.txt", "summary.md"


class Driver:
    """Runs parts, and writes their state and results to `setting.output`."""

    def __init__(self, setting: Setting, seconds: float, since_s: float, *, rehearsal: bool = False):
        """Restores the state and results of an earlier call from the output folder.

        Args:
            seconds: the time for all parts.
            since_s: when that time began, in Unix seconds.
            rehearsal: this is a rehearsal on a CPU.

        Raises:
            UserError: the folder has the results of a rehearsal and this is none, or the reverse.
        """
        self._setting, self._rehearsal = setting, rehearsal
        self._limits, self._end_s = seconds / _LIMITS_FOR_S, time.monotonic() + since_s + seconds - time.time()
        for folder in (setting.work, setting.output):
            folder.mkdir(parents=True, exist_ok=True)
        self.parts: dict[str, dict[str, Any]] = {}
        kept = setting.output / RESULTS
        if not kept.exists():
            return
        saved = json.loads(kept.read_bytes())
        if saved.get("rehearsal") is not rehearsal:
            found = "not from" if rehearsal else "from"
            raise UserError(f"{kept} is {found} a rehearsal; give another OUT=FOLDER and WORK=FOLDER")
        self.parts = saved["parts"]
        for name, result in saved["results"].items():
            if not (setting.work / name).exists():
                write_json(setting.work / name, result)

    def run(self, part: Part) -> None:
        """Runs a part within its limit and the time left for all parts; a part that is done is skipped."""
        before = self.parts.get(part.name, {"state": "", "seconds": 0.0})
        start_s = time.monotonic()
        left_s = self._end_s - start_s - _GRACE_S
        if before["state"] == DONE or left_s < _LEAST_S:
            print(f"{part.name}: {before['state'] or 'not started, the time is up'}", flush=True)
            return
        limit_s = left_s if part.limit_s is None else min(left_s, part.limit_s * self._limits)
        self._setting.deadline_s = start_s + limit_s
        print(f"{part.name}: at most {limit_s:.0f} s", flush=True)
        state, reason = UNFINISHED, ""

        def note() -> None:
            seconds = before["seconds"] + time.monotonic() - start_s
            self.parts[part.name] = {"state": state, "seconds": round(seconds, 1), "reason": reason}
            self.collect()

        try:
            state, reason = self._steps(part.steps(self._setting), note)
        except UserError as error:
            state, reason = FAILED, str(error)
        except Exception as error:  # such as a damaged archive; the other parts still run
            state, reason = FAILED, repr(error)
        note()
        print(f"{part.name}: {state} after {time.monotonic() - start_s:.0f} s{reason and ': '}{reason}", flush=True)

    def _steps(self, steps: Iterator[Step], tick: Callable[[], None]) -> tuple[str, str]:
        """Runs the steps of a part and returns its state and failures; a failed step does not stop the next ones."""
        exceeded, failures = [], []
        for step in steps:
            name = " ".join(word for word in step.command[:4] if not word.startswith("--"))
            limit_s = self._setting.left_s - step.reserve_s
            status = None if limit_s < _LEAST_S else self._call(step, limit_s, tick)
            if status:
                failures.append(f"{name} ended with status {status}")
            elif status is None:
                exceeded.append(f"time limit in {name}")
                if not step.reserve_s:  # else the next steps have time, and use what this one saved
                    break
        state = FAILED if failures else UNFINISHED if exceeded else DONE
        return state, "; ".join(failures + exceeded)

    def _call(self, step: Step, limit_s: float, tick: Callable[[], None]) -> int | None:
        """Runs a program, kills all its processes and returns its exit status; None if it exceeded the limit."""
        command = [sys.executable, "-c", _DIE_WITH_DRIVER, *step.command]
        variables = _variables(self._setting.work) | dict(self._setting.scale.variables) | dict(step.variables)
        with (self._setting.output / LOG).open("a", encoding="utf-8") as log:
            print(f"\n$ {shlex.join(['python', *step.command])}", file=log, flush=True)
            process = subprocess.Popen(
                command, cwd=repository.root(), env=os.environ | variables, stdout=log, stderr=log, process_group=0
            )
            try:
                return _wait(process, limit_s, tick)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def collect(self) -> None:
        """Writes the parts' state, all results and the summary to the output folder."""
        work, output = self._setting.work, self._setting.output
        results = {file.name: json.loads(file.read_bytes()) for file in sorted(work.glob("*.json"))}
        write_json(output / RESULTS, {"rehearsal": self._rehearsal, "parts": self.parts, "results": results})
        try:
            text = summary(self.parts, work, rehearsal=self._rehearsal)
        except Exception as error:  # a broken summary must not stop the measurement
            text = f"no summary ({error!r}); {RESULTS} has everything\n"
        with atomic_write(output / SUMMARY) as page:
            page.write_text(text, encoding="utf-8")
        log = output / LOG
        if log.exists() and log.stat().st_size > _MAX_BYTES:  # the end of the log has the failure
            log.write_bytes(log.read_bytes()[-_MAX_BYTES // 2 :])


def _wait(process: subprocess.Popen, limit_s: float, tick: Callable[[], None]) -> int | None:
    end_s = time.monotonic() + limit_s
    while (left_s := end_s - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(min(_TICK_S, left_s))
        tick()
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    return None


def _variables(work: Path) -> dict[str, str]:
    """Environment variables of all programs: shared compilation caches, and most of the GPU's memory."""
    return {
        "PYTHONUNBUFFERED": "1",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9",
        "JAX_COMPILATION_CACHE_DIR": str(work.absolute() / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "TORCHINDUCTOR_CACHE_DIR": str(work.absolute() / "inductor"),
    }


def chosen(name: str) -> Sequence[Part]:
    """The parts that --part names.

    Raises:
        UserError: no part has this name.
    """
    groups = {"all": ALL, "peers": PEERS} | {part.name: (part,) for part in (*ALL, *PEERS) if part.name != "peers"}
    if name not in groups:
        raise UserError(f"--part is {name!r}; expected one of {', '.join(groups)}")
    return groups[name]


def main() -> None:
    repository.root()  # fails before the first part starts
    scale = REHEARSAL if _REHEARSE.value else Scale()
    data, work, output = (Path(folder.value).absolute() for folder in (_DATA, _WORK, _OUTPUT))
    setting = Setting(data, work, output, scale)
    since_s = time.time() if _SINCE.value is None else _SINCE.value
    driver = Driver(setting, _SECONDS.value, since_s, rehearsal=_REHEARSE.value)
    for part in chosen(_PART.value):
        driver.run(part)
    driver.collect()
    print(f"{', '.join(sorted(path.name for path in setting.output.iterdir()))} are in {setting.output}")
