"""The parts of `make gpu`, each a sequence of this project's programs with their flags.

A part is a generator of steps. Each step ends before the next one is generated, so that a part can read the results of
its earlier steps.
"""

import dataclasses
import functools
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_folder, write_json

# As in mamkpd_jax.evaluation.report, which imports packages that the machine may lack.
REPORT, PICTURE = "report.json", "predictions.png"
_SCHEDULE = "schedule.json"
_START_S, _EVALUATION_S = 20.0, 45.0  # of a training: before its first step and after its last one
_LEAST_TRAINING_S, _COMPILE_S, _RETRY_S = 60.0, 60.0, 300.0
_MARGIN = 0.85  # share of the measured speed to plan with, so that the learning rate decays before the time is up
_PAPERS_EPOCHS, _PAPERS_DECAYS = 210, (170, 200)
_MEASURED_PIXELS = 256 * 192  # of a crop in the part "step"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes that the parts measure: models, batch sizes, repeats and so on."""

    kernel: str = "pallas_triton"
    workloads: str = "base stage 1,base stage 2,base stage 3"
    checked_batches: str = "1,64"
    batches: str = "256,1,64"
    tried_batches: tuple[int, ...] = (256, 128, 64)  # of a training step; the first one that fits in memory is used
    repeats: int = 30
    dtype: str = "bfloat16"
    scans: tuple[str, ...] = ("pallas_triton", "associative")  # the first is used if the kernels are correct
    variants: str = "base,small,large"
    peers: tuple[str, ...] = ("simple_baseline", "vit_s", "hrnet_w32")
    compiled: tuple[str, ...] = ("simple_baseline", "vit_s", "hrnet_w32")
    config: str = "configs/{}.py"
    training: tuple[str, ...] = ()
    guessed_images_per_s: float = 1500.0  # used if no training step was measured
    variables: tuple[tuple[str, str], ...] = ()  # environment variables of all programs


REHEARSAL = Scale(
    kernel="pallas_interpret",
    workloads="quickstart stage 1",
    checked_batches="1",
    batches="1",
    tried_batches=(16,),
    repeats=2,
    dtype="float32",
    scans=("sequential", "associative"),
    variants="small",
    compiled=("simple_baseline:0.125",),
    config="configs/narrow.py:{}",
    training=(
        *("--config.model.depths=(1,1,1)", "--config.model.dims=(8,8,8)", "--config.model.decoder_dim=8"),
        *("--config.data.input_hw=(64,64)", "--config.head.codec=plain", "--config.eval.batch_size=250"),
    ),
    guessed_images_per_s=100.0,
    variables=(("XLA_FLAGS", "--xla_backend_optimization_level=0"), ("JAX_PLATFORMS", "cpu")),
)


class Step(NamedTuple):
    """A program to run."""

    command: Sequence[str]  # arguments of Python
    reserve_s: float = 0.0  # seconds of the part's time that are kept for its later steps
    variables: Mapping[str, str] = {}  # environment variables


@dataclasses.dataclass
class Setting:
    """The folders, sizes and deadline of the parts."""

    data: Path
    work: Path
    output: Path
    scale: Scale = Scale()
    deadline_s: float = float("inf")  # of the running part, on the clock of time.monotonic()

    @property
    def left_s(self) -> float:
        """Seconds left for the running part."""
        return self.deadline_s - time.monotonic()

    @property
    def scan(self) -> str:
        """The scan for training and beside peers: the kernels if every check of them passed, else `associative`."""
        checked = self.rows(f"kernels_{self.scale.dtype}.json")
        return self.scale.scans[0 if checked and all(row["correct"] for row in checked) else 1]

    def rows(self, file: str) -> list[dict[str, Any]]:
        """The rows of a result file in `work`; empty if there is no such file."""
        path = self.work / file
        return json.loads(path.read_bytes())["rows"] if path.exists() else []

    def bench(self, name: str, file: str, *more: str, **flags: Any) -> Step:
        """A step that runs the benchmark `name` of the package and writes a result file to `work`."""
        flags |= {"repeats": self.scale.repeats, "output": self.work / file}
        return Step(["-m", "mamkpd_jax", "bench", name, *(f"--{key}={flags[key]}" for key in flags), *more])

    def unpacked(self, name: str) -> Path:
        """The folder of a data set; unpacks its .zip if there is no folder yet.

        Raises:
            UserError: there is neither a folder nor a .zip.
        """
        folders = self.data / name, self.work / f"{name}_data" / name
        for folder in folders:
            if (folder / f"{name}_train.json").exists():
                return folder
        archive = self.data / name / f"{name}.zip"
        if not archive.exists():
            raise UserError(f"{archive} is missing; give DATA=FOLDER, the folder that has {name}/{name}.zip")
        with atomic_folder(folders[1].parent) as partial, zipfile.ZipFile(archive) as content:
            content.extractall(partial)
        return folders[1]

    def training(self, name: str) -> list[str]:
        """The flags of a training on a data set: config file and overrides."""
        fields = {"data.root": self.unpacked(name), "data.build_dir": self.work / "tfds"}
        fields |= {"data.workers": len(os.sched_getaffinity(0))}
        fields |= {"model.dtype": self.scale.dtype, "model.scan": self.scan}
        flags = [f"--config.{field}={value}" for field, value in fields.items()]
        return [f"--config={self.scale.config.format(name)}", *flags, *self.scale.training]


def kernels(at: Setting) -> Iterator[Step]:
    """Checks values and gradients of the kernels against the fp32 loop."""
    about = {"implementations": at.scale.kernel, "workloads": at.scale.workloads, "batches": at.scale.checked_batches}
    for dtype in dict.fromkeys((at.scale.dtype, "float32")):
        yield at.bench("scan", f"kernels_{dtype}.json", measure="errors", chunks="", dtype=dtype, **about)


def scan(at: Setting) -> Iterator[Step]:
    """Times the scan alone: the kernels and `associative`, then the kernels with other tilings."""
    about = {"measure": "times", "chunks": "", "dtype": at.scale.dtype, "workloads": at.scale.workloads}
    both = {"implementations": f"{at.scale.kernel},associative", "batches": at.scale.batches}
    yield at.bench("scan", "scan.json", **about, **both)._replace(reserve_s=at.left_s / 3)
    cuts = {"implementations": at.scale.kernel, "batches": at.scale.checked_batches}
    yield at.bench("scan", "scan_tilings.json", "--tilings", **about, **cuts)


def model(at: Setting) -> Iterator[Step]:
    """Times the forward pass of whole models with each scan."""
    about = {"dtype": at.scale.dtype, "batches": at.scale.batches, "variants": at.scale.variants}
    for name in at.scale.scans:
        one = at.bench("model", "speed_gpu.json", scans=name, **about)
        yield one if name == at.scale.scans[-1] else one._replace(reserve_s=at.left_s / 4)


def step(at: Setting) -> Iterator[Step]:
    """Times Base's training step on random images and on the loader's, at the largest batch size that fits."""
    for batch in at.scale.tried_batches:
        if not any(row.get("input") == "loader" for row in at.rows("step.json")):
            yield at.bench("train", "step.json", "--loader", *at.training("lspet"), batches=batch)


def train(name: str, at: Setting) -> Iterator[Step]:
    """Trains Base from scratch in the time left, evaluates it and exports its weights in bfloat16."""
    file, runs = f"accuracy_{name}.json", at.work / name
    # The number of epochs depends on the speed. If the part "step" did not measure it in time, try once more.
    if not (runs / _SCHEDULE).exists() and at.left_s > _RETRY_S:
        for one in step(at):
            yield one._replace(reserve_s=at.left_s - _RETRY_S / 3)
    flags = [*at.training(name), *schedule(at, name)]
    run = runs / "base_0"
    variant = flags[0] + ("," if ":" in flags[0].partition("=")[2] else ":") + "base"
    if not (run / REPORT).exists():
        yield Step(["train.py", variant, *flags[1:], "--config.seed=0", f"--workdir={run}"], _EVALUATION_S)
    weights = at.output / f"base_{name}_bfloat16.safetensors"
    yield Step(["-m", "mamkpd_jax", "convert", f"--checkpoint={run}", f"--output={weights}", "--dtype=bfloat16"])
    picture = run / PICTURE
    if (run / REPORT).exists():
        # With --minutes=0 it trains nothing and only collects the run's results.
        gather = "--contenders=base", "--minutes=0", f"--workdir={runs}", f"--output={at.work / file}"
        yield Step(["-m", "mamkpd_jax", "bench", "training_accuracy", *flags, *gather])
    else:
        yield Step(["eval.py", variant, *flags[1:], f"--workdir={run}"])
        picture = run / "eval" / PICTURE
    if picture.exists():
        shutil.copyfile(picture, at.output / f"{name}_{PICTURE}")


def schedule(at: Setting, name: str) -> list[str]:
    """The config flags of a training that ends in the time left, with the paper's decays in proportion.

    A file in `at.work` keeps them, so that a resumed training has the same schedule.

    Raises:
        UserError: there is too little time to train.
    """
    kept = at.work / name / _SCHEDULE
    if kept.exists():
        return json.loads(kept.read_bytes())
    measured = [row for row in at.rows("step.json") if "images_per_s" in row]
    images_per_s = measured[-1]["images_per_s"] if measured else at.scale.guessed_images_per_s
    if name == "animalpose":  # its crops are 256x256
        images_per_s *= _MEASURED_PIXELS / 256**2
    batch = measured[-1]["batch"] if measured else at.scale.tried_batches[-1]
    # The measured step may come from the compilation cache, which does not hold the training's step.
    compile_s = max(_COMPILE_S, measured[-1]["compile_s"]) if measured else _COMPILE_S
    instances = len(json.loads((at.unpacked(name) / f"{name}_train.json").read_bytes())["annotations"])
    seconds = at.left_s - _START_S - _EVALUATION_S - compile_s
    if seconds < _LEAST_TRAINING_S:
        needed = f"at least {_LEAST_TRAINING_S:.0f} s are needed; run the same command again"
        raise UserError(f"{name}: {seconds:.0f} s are left to train, {needed}")
    fields = fitted(images_per_s, seconds, instances, batch)
    flags = [f"--config.{field}={value}" for field, value in fields.items()]
    write_json(kept, flags)
    return flags


def fitted(images_per_s: float, seconds: float, instances: int, batch: int) -> dict[str, Any]:
    """The config fields of a training on `instances` examples that takes the given seconds, in whole epochs."""
    steps_per_epoch = instances // batch
    epochs = int(_MARGIN * seconds * images_per_s / (steps_per_epoch * batch))
    epochs = min(max(epochs, 1), _PAPERS_EPOCHS)
    steps = epochs * steps_per_epoch
    return {
        "optim.batch_size": batch,
        "optim.epochs": epochs,
        "optim.decay_epochs": tuple(max(1, round(epochs * decay / _PAPERS_EPOCHS)) for decay in _PAPERS_DECAYS),
        "optim.warmup_steps": min(500, steps // 20),
        "eval.every_epochs": max(1, epochs // 3),
        "log_every_steps": min(50, max(1, steps // 10)),
        "checkpoint_every_steps": max(1, int(20 * images_per_s / batch)),  # 20 s
    }


def peers(at: Setting) -> Iterator[Step]:
    """Times the forward pass of SimpleBaseline, ViT-S and HRNet-W32 in PyTorch, with Base beside each."""
    about = {"variants": at.scale.variants.partition(",")[0], "scans": at.scan, "dtype": at.scale.dtype}
    half = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5"}  # by default JAX takes three quarters at its start
    for compiled, names in ((False, at.scale.peers), (True, at.scale.compiled)):
        for name in names:
            one = at.bench("speed", "speed_gpu.json", **about, batches=at.scale.batches, peers=name, compile=compiled)
            yield one._replace(variables=half)


class Part(NamedTuple):
    """A part: its name, its steps, and its time limit in seconds (None: all the time left)."""

    name: str
    steps: Callable[[Setting], Iterator[Step]]
    limit_s: float | None = None


_KERNELS = Part("kernels", kernels, 60)  # also first in PEERS: this machine may not have checked them yet
ALL = (
    _KERNELS,
    Part("scan", scan, 90),
    Part("model", model, 90),
    Part("step", step, 60),
    Part("lspet", functools.partial(train, "lspet")),
)
PEERS = (_KERNELS, Part("peers", peers, 300), Part("animalpose", functools.partial(train, "animalpose")))
