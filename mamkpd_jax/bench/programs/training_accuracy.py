"""Trains variants of MamKPD and peers in the same setting, and collects their scores and curves.

mamkpd bench training_accuracy --config=configs/lspet.py --config.data.root=data/lspet --workdir=runs/lspet \
    --contenders=base,simple_baseline,hrnet_w32,vit_s --seeds=0,1,2 --output=benchmarks/results/accuracy_lspet.json

A contender is a variant (small, base, ablation_a, ...), which train.py trains, or a peer (simple_baseline, hrnet_w32,
vit_s; simple_baseline:0.25 has a quarter of its channels), which `mamkpd bench train_peer` trains. After --minutes the
runs save and stop; the same command resumes them. Runs that are already in --output are kept. On a CPU:
--config=configs/narrow.py:lspet --contenders=base,simple_baseline:0.1875 --at_once=2.
"""

import dataclasses
import itertools
import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from absl import flags, logging
from ml_collections import config_flags

from mamkpd_jax import cli
from mamkpd_jax.bench import measure, repository
from mamkpd_jax.bench.markdown import table
from mamkpd_jax.bench.peers import PEERS, check
from mamkpd_jax.complexity import costs
from mamkpd_jax.config import Config, differences, from_dict
from mamkpd_jax.environment import environment
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.report import REPORT, RESULTS
from mamkpd_jax.files import write_json
from mamkpd_jax.model.mamkpd import VARIANTS
from mamkpd_jax.skeleton_files import make_skeleton
from mamkpd_jax.training.logs import ENVIRONMENT, METRICS

_CONFIG = cli.define_config()
_CONTENDERS = flags.DEFINE_list("contenders", ["base", "simple_baseline"], "Variants and peers.")
_SEEDS = cli.define_whole_numbers("seeds", [0], "Seeds to train each contender with.", least=0)
_MINUTES = measure.define_minutes()
_AT_ONCE = flags.DEFINE_integer("at_once", 1, "Runs in parallel, each on its share of the cores.", lower_bound=1)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run directories.", required=True, allow_override=True)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the results so far.", required=True, allow_override=True)

_ENVIRON = dict(os.environ)
# The runs need the GPU's memory; this process only counts parameters.
os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
_PLACES = ("root", "build_dir")  # folders of the data set, which don't affect results


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """The training of a contender with a seed."""

    contender: str
    seed: int
    folder: Path

    @property
    def command(self) -> list[str]:
        """The command that starts or resumes the training."""
        flag = flags.FLAGS["config"]
        file = config_flags.get_config_filename(flag)
        fields = config_flags.get_override_values(flag) | {"seed": self.seed}
        if self.contender in VARIANTS:
            program, file = [str(repository.root() / "train.py")], file + ("," if ":" in file else ":") + self.contender
        else:
            program = ["-m", "mamkpd_jax", "bench", "train_peer", f"--peer={self.contender}"]
        overrides = [f"--config.{field}={value}" for field, value in fields.items()]
        return [sys.executable, *program, f"--config={file}", *overrides, f"--workdir={self.folder}"]

    def train(self, deadline_s: float) -> None:
        """Trains until the run is complete or the deadline of time.monotonic() passes.

        Raises:
            UserError: the training failed.
        """
        if (self.folder / REPORT).exists() or time.monotonic() > deadline_s:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        # PyTorch needs the GPU: in a peer's training JAX only makes targets and decodes.
        alone = {} if self.contender in VARIANTS else {"JAX_PLATFORMS": "cpu"}
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            process = subprocess.Popen(self.command, stdout=log, stderr=log, env=_ENVIRON | alone)
            logging.info("%s: %s", self.folder, " ".join(self.command))
            try:
                process.wait(max(deadline_s - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
                process.wait()
        if process.returncode not in (0, -signal.SIGTERM):
            raise UserError(f"{self.contender} with seed {self.seed} failed; read {self.folder / 'log.txt'}")

    def result(self) -> dict[str, Any] | None:
        """The size, scores and curves of the run; None if it is incomplete."""
        if not (self.folder / REPORT).exists():
            return None
        report = json.loads((self.folder / REPORT).read_bytes())
        config = report.pop("config")
        if "macs" not in report:
            poses = json.loads((self.folder / RESULTS).read_bytes())
            report |= _cost(config, len(poses[0]["keypoints"]) // 3)
        for place in _PLACES:
            del config["data"][place]
        log = [json.loads(line) for line in (self.folder / METRICS).read_text(encoding="utf-8").splitlines()]
        where = json.loads((self.folder / ENVIRONMENT).read_bytes())
        steps = [record for record in log if "train/loss" in record]
        headline = next(name for record in log for name in record if name.startswith("eval/"))
        curves = {
            name: [[record["step"], record[name]] for record in log if name in record]
            for name in ("train/loss", headline)
        }
        return {
            "contender": self.contender,
            "seed": self.seed,
            "params": report["params"],
            "macs": report["macs"],
            "metric": headline.removeprefix("eval/"),
            "value": report[headline.removeprefix("eval/")],
            "hours": log[-1]["time_s"] / 3600,
            "images_per_s": statistics.median(record["train/images_per_s"] for record in steps),
            "data_wait": statistics.mean(record["train/data_wait"] for record in steps),
            "environment": {name: where[name] for name in ("device", "n_devices", "commit")},
            "report": report,
            "config": config,
            "curves": curves,
        }


def recorded(file: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """The runs in a result file, by contender and seed; empty if there is no such file.

    Raises:
        UserError: the file has no such runs.
    """
    if not file.exists():
        return {}
    try:
        return {(run["contender"], run["seed"]): run for run in json.loads(file.read_bytes())["runs"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--output: {file} has no results of this benchmark; give another file") from error


def check_setting(result: dict[str, Any], config: Config) -> None:
    """Checks that a run had the data, schedule and evaluation of `config`.

    Raises:
        UserError: a setting differs.
    """
    where = {name: getattr(config.data, name) for name in _PLACES}
    was = from_dict(Config, result["config"] | {"data": result["config"]["data"] | where})
    alike = ("data.", "optim.", "eval.", "init_from", "model.dtype", "model.d_state", "model.drop_path")
    other = {name: change for name, change in differences(was, config).items() if name.startswith(alike)}
    if result["contender"] in VARIANTS:  # the variant sets all other fields of the model, except those of the command
        for name, value in config_flags.get_override_values(flags.FLAGS["config"]).items():
            section, _, field = name.partition(".")
            if section == "model" and getattr(was.model, field) != value:
                other[name] = f"{getattr(was.model, field)!r} -> {value!r}"
    if other:
        raise UserError(
            f"{result['contender']} with seed {result['seed']} was trained with other settings "
            f"({'; '.join(f'{name}: {change}' for name, change in other.items())}); "
            "give another --workdir and --output"
        )


def train(runs: Sequence[Run], deadline_s: float) -> None:
    """Trains --at_once runs in parallel until the deadline of time.monotonic().

    Raises:
        UserError: a run failed; the others still ran.
    """
    # A process inherits the cores of the thread that starts it.
    cores, lanes = sorted(os.sched_getaffinity(0)), queue.SimpleQueue()
    for i in range(_AT_ONCE.value):
        lanes.put(cores[i :: _AT_ONCE.value] or cores)
    with ThreadPoolExecutor(_AT_ONCE.value, initializer=lambda: os.sched_setaffinity(0, lanes.get())) as pool:
        futures = [pool.submit(run.train, deadline_s) for run in runs]
    if failures := [error for future in futures if (error := future.exception())]:
        raise UserError("; ".join(map(str, failures))) from failures[0]


def summary(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per contender: its size, and the mean, lowest and highest main metric over its seeds."""
    rows = []
    for contender in dict.fromkeys(result["contender"] for result in results):
        its_results = [result for result in results if result["contender"] == contender]
        values = [result["value"] for result in its_results]
        about = {"contender": contender, "parameters": its_results[0]["params"], "GMACs": its_results[0]["macs"] / 1e9}
        about |= {"seeds": len(values), its_results[0]["metric"]: statistics.mean(values)}
        rows.append(about | {"lowest": min(values), "highest": max(values)})
    return rows


def _cost(config: dict[str, Any], n_joints: int) -> dict[str, int]:
    skeleton = make_skeleton("of the poses", {"joints": [str(joint) for joint in range(n_joints)]})
    parts = costs(from_dict(Config, config), skeleton).values()
    return {"params": sum(part.params for part in parts), "macs": sum(part.macs for part in parts)}


def main() -> None:
    deadline_s = time.monotonic() + 60 * _MINUTES.value
    for contender in sorted(set(_CONTENDERS.value) - set(VARIANTS)):
        if contender.partition(":")[0] not in PEERS:
            raise UserError(f"--contenders names {contender!r}; expected some of {', '.join((*VARIANTS, *PEERS))}")
        check(contender)
    folder = Path(_WORKDIR.value)
    names = itertools.product(_SEEDS.value, _CONTENDERS.value)
    runs = {(name, seed): Run(name, seed, folder / f"{name.replace(':', '_x')}_{seed}") for seed, name in names}
    done = recorded(Path(_OUTPUT.value))
    for result in (*done.values(), *(result for run in runs.values() if (result := run.result()))):
        check_setting(result, _CONFIG.value)
    try:
        train([run for key, run in runs.items() if key not in done], deadline_s)
    finally:
        done |= {key: result for key, run in runs.items() if (result := run.result())}
        results = list(done.values())
        rows = summary(results)
        write_json(Path(_OUTPUT.value), {"environment": environment(), "rows": rows, "runs": results})
    if rows:
        print(table({"rows": rows}))
    n_done = len(runs.keys() & done)
    rest = "" if n_done == len(runs) else "; the same command resumes the others"
    print(f"{n_done} of {len(runs)} runs are done{rest}")
