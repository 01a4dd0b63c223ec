"""The programs on real images: fitting, resuming after a kill, evaluating, and mistakes told in one line."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

import train
from mamkpd_jax.config import Config, DataConfig, EvalConfig, ModelConfig, OptimConfig

ROOT = Path(train.__file__).parent
CONFIG = """from mamkpd_jax.config import *

def get_config():
    return {config!r}
"""


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def tiny(coco_mini_root: Path, build_dir: Path) -> Config:
    """Three steps an epoch, a checkpoint after each."""
    return Config(
        model=ModelConfig(stem=False, depths=(1, 1), dims=(8, 16), decoder_dim=8, drop_path=0.2),
        data=DataConfig(root=str(coco_mini_root), build_dir=str(build_dir), input_hw=(64, 48), workers=0),
        optim=OptimConfig(batch_size=4, epochs=3, decay_epochs=(2,), warmup_steps=2),
        eval=EvalConfig(batch_size=4, every_epochs=10),
        checkpoint_every_steps=1,
        log_every_steps=1,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """Runs a program of the repository with a config, as a user does."""
    folder = tmp_path_factory.mktemp("run")
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}

    def start(program: str, config: Config, workdir: Path, *flags: str, **more: str) -> subprocess.Popen:
        file = folder / f"{abs(hash(repr(config)))}.py"
        file.write_text(CONFIG.format(config=config))
        command = [sys.executable, program, f"--config={file}", f"--workdir={workdir}", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, env=environment | more, **pipes)

    return start


def _finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def _parameters(workdir: Path, step: int) -> list[np.ndarray]:
    manager = ocp.CheckpointManager(workdir / "checkpoints", options=ocp.CheckpointManagerOptions(read_only=True))
    state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore()))["state"]
    return [np.asarray(leaf) for leaf in _leaves(state)]


def _leaves(tree: object) -> list:
    if isinstance(tree, dict):
        return [leaf for name in sorted(tree) for leaf in _leaves(tree[name])]
    return [leaf for item in tree for leaf in _leaves(item)] if isinstance(tree, list) else [tree]


def test_a_narrow_model_fits_the_real_persons(coco_mini_root, build_dir, tmp_path, run):
    """The geometry is right: crop, heatmap, flip test, decoding and COCOeval give back what was learned."""
    config = Config(
        model=ModelConfig(stem=False, depths=(1, 2), dims=(32, 64), decoder_dim=32, drop_path=0.0),
        data=DataConfig(
            root=str(coco_mini_root),
            build_dir=str(build_dir),
            input_hw=(128, 96),
            sigma_px=4.0,
            augmentation="flip",
            workers=0,
        ),
        optim=OptimConfig(batch_size=12, epochs=350, learning_rate=3e-3, decay_epochs=(270, 320), warmup_steps=10),
        eval=EvalConfig(batch_size=12, every_epochs=1000),
    )
    metrics = train.train(config, tmp_path)
    assert metrics["coco/AP"] >= 0.9
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["coco/AP"] == metrics["coco/AP"] and report["step"] == 350
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results) == 12 and {"image_id", "category_id", "keypoints", "score"} <= set(results[0])
    assert (tmp_path / "predictions.png").stat().st_size > 10_000 and list((tmp_path / "tensorboard").iterdir())

    status, out, err = _finish(run("eval.py", config, tmp_path))
    assert status == 0, err
    again = json.loads((tmp_path / "eval" / "report.json").read_text())
    assert again["coco/AP"] == pytest.approx(metrics["coco/AP"], abs=0.01) and f"{again['coco/AP']:.3f}" in out


def test_a_killed_run_goes_on_to_the_same_parameters(tiny, tmp_path, run):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    status, _, err = _finish(run("train.py", tiny, straight))
    assert status == 0, err
    process = run("train.py", tiny, killed)
    while process.poll() is None and not (killed / "checkpoints" / "3").is_dir():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert _finish(process)[0] == -signal.SIGKILL

    status, _, err = _finish(run("train.py", tiny, killed))
    assert status == 0 and "going on from step" in err, err
    for a, b in zip(_parameters(straight, 9), _parameters(killed, 9), strict=True):
        np.testing.assert_array_equal(a, b)

    status, _, err = _finish(run("train.py", tiny, killed))
    assert status == 0 and "done" in err and "0/9" not in err, err


def test_a_checkpoint_of_another_variant_is_refused(tiny, tmp_path, run):
    assert _finish(run("train.py", tiny, tmp_path, "--config.optim.epochs=1"))[0] == 0
    for program in ("train.py", "eval.py"):
        status, _, err = _finish(run(program, tiny, tmp_path, "--config.model.dims=(8, 24)"))
        assert status == 1 and "config.model.dims=[8, 16], this run has [8, 24]" in err.splitlines()[-1], err


@pytest.mark.parametrize(
    ("program", "flags", "line"),
    [
        ("train.py", ["--config.optim.epoch=1"], "no such config field; did you mean --config.optim.epochs?"),
        ("train.py", ["--config.data.root=/nowhere"], "/nowhere does not exist"),
        ("train.py", ["--config.optim.batch_size=13"], "12 instances, fewer than config.optim.batch_size=13"),
        ("train.py", ["--config.data.input_hw=(65, 48)"], "config.data.input_hw is (65, 48)"),
        ("train.py", ["extra"], "unexpected argument 'extra'"),
        ("eval.py", [], "no checkpoint"),
        ("eval.py", ["--config.eval.detections=/nowhere.json"], "no checkpoint"),
    ],
)
def test_mistakes_are_told_in_one_line(program, flags, line, tiny, tmp_path, run):
    status, _, err = _finish(run(program, tiny, tmp_path / "new", *flags))
    assert status == 1 and line in err.splitlines()[-1] and err.splitlines()[-1].startswith("error: "), err
    assert "Traceback" not in err
    assert not (tmp_path / "new").exists(), "nothing is left behind"


def test_devices_that_do_not_divide_the_batch(tiny, tmp_path, run):
    config = dataclasses.replace(tiny, optim=dataclasses.replace(tiny.optim, batch_size=3))
    devices = "--xla_force_host_platform_device_count=2"
    status, _, err = _finish(run("train.py", config, tmp_path / "new", XLA_FLAGS=devices))
    assert status == 1 and "which the 2 devices do not divide; set --config.optim.batch_size=" in err, err
