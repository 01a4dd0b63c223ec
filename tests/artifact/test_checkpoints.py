"""Weights read from run directories and written to new ones: which weights, damage, and failed writes."""

import dataclasses
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from mamkpd_jax.artifact.checkpoints import description_items, read_checkpoint, write_checkpoint
from mamkpd_jax.artifact.weight_files import load, save
from mamkpd_jax.config import Config, DataConfig, ModelConfig, OptimConfig
from mamkpd_jax.errors import UserError

_ROOT = Path(__file__).parents[2]
_CONFIG = Config(
    model=ModelConfig(stem=False, depths=(1, 1), dims=(8, 16), decoder_dim=8),
    data=DataConfig(dataset="synthetic_people", input_hw=(64, 48)),
    optim=OptimConfig(ema_decay=0.9),
)


def _save(weights, folder: Path, **parts: float) -> None:
    """Saves a run's checkpoint whose `params` and `ema` are the weights times these factors."""
    state = {"batch_stats": weights.batch_stats}
    for name, factor in parts.items():
        state[name] = jax.tree.map(lambda x, factor=factor: factor * x, weights.params)
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), **description_items(weights))
    with ocp.CheckpointManager(folder.resolve()) as manager:
        manager.save(weights.step, args=items)


@pytest.fixture
def run(random_weights, tmp_path) -> Path:
    weights = random_weights(_CONFIG)
    _save(weights, tmp_path / "run" / "checkpoints", params=2, ema=3)
    _save(weights, tmp_path / "run" / "best", params=5, ema=7)
    return tmp_path / "run"


def _factor(weights, random_weights) -> float:
    ratios = jax.tree.map(lambda a, b: a / b, weights.params, random_weights(_CONFIG).params)
    (factor,) = {round(float(x), 4) for leaf in jax.tree.leaves(ratios) for x in np.unique(leaf)}
    return factor


@pytest.mark.parametrize(("flags", "factor"), [("", 3), ("--noema", 2), ("--best", 7), ("--best --noema", 5)])
def test_the_flags_choose_the_weights(run, random_weights, flags, factor, tmp_path):
    file = tmp_path / "model.safetensors"
    done = _convert(f"--checkpoint={run}", f"--output={file}", *flags.split())
    assert done.returncode == 0, done.stderr
    assert _factor(load(file), random_weights) == factor


def test_parameters_are_read_without_a_moving_average(random_weights, tmp_path):
    without = dataclasses.replace(_CONFIG, optim=OptimConfig())
    _save(random_weights(without), tmp_path / "checkpoints", params=2)
    assert _factor(read_checkpoint(tmp_path), random_weights) == 2


def test_a_gpu_scan_reads_as_auto(random_weights, tmp_path):
    model = dataclasses.replace(_CONFIG.model, scan="pallas_triton")
    weights = dataclasses.replace(random_weights(_CONFIG), config=dataclasses.replace(_CONFIG, model=model))
    _save(weights, tmp_path / "checkpoints", params=2, ema=3)
    assert read_checkpoint(tmp_path).config.model.scan == "auto"


def _without_state(step: Path) -> None:
    shutil.rmtree(step / "state")


def _cut_config(step: Path) -> None:
    file = step / "description" / "metadata"
    file.write_bytes(file.read_bytes()[:-20])


def _cut_arrays(step: Path) -> None:
    for file in (path for path in (step / "state").rglob("*") if path.is_file() and "/d/" in str(path)):
        file.write_bytes(file.read_bytes()[:-20])


@pytest.mark.parametrize("damage", [_without_state, _cut_config, _cut_arrays])
def test_a_damaged_checkpoint_is_one_line(run, damage, tmp_path):
    damage(run / "checkpoints" / "7")
    done = _convert(f"--checkpoint={run}", f"--output={tmp_path / 'model.safetensors'}")
    # Orbax reads that are still running may report, after this line, that Python has ended.
    assert done.returncode == 1 and done.stderr.count("error: checkpoint ") == 1, done.stderr
    assert "checkpoints/7 is damaged (" in done.stderr.split("error: checkpoint ")[1].splitlines()[0]
    assert not (tmp_path / "model.safetensors").exists()


def test_a_non_finite_checkpoint_is_refused(random_weights, tmp_path):
    _save(random_weights(_CONFIG), tmp_path / "checkpoints", params=np.nan, ema=3)
    assert read_checkpoint(tmp_path).step == 7
    with pytest.raises(UserError, match=r"\S+ has NaN or infinity; give weights that are finite"):
        read_checkpoint(tmp_path, ema=False)


def test_a_failed_write_leaves_nothing_behind(random_weights, tmp_path):
    file, output = tmp_path / "model.safetensors", tmp_path / "run"
    save(random_weights(_CONFIG), file)
    # Files are limited to 5 KiB, like on a full disk. Orbax writes that are still running may print more.
    failed = _convert(f"--input={file}", f"--output={output}", shell="ulimit -f 5; ")
    assert failed.returncode == 1 and f"error: {output} can't be written (" in failed.stderr, failed.stderr
    assert list(output.iterdir()) == []
    done = _convert(f"--input={file}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    assert read_checkpoint(output).step == 7
    with pytest.raises(UserError, match="has checkpoints already"):
        write_checkpoint(random_weights(_CONFIG), output)


def test_a_full_disk_is_reported_before_writing(random_weights, tmp_path, monkeypatch):
    """Only the disk's free space is faked."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=0))
    with pytest.raises(
        UserError, match=r"run can't be written \(No space left on device: 0 MiB needed, 0 free\); free"
    ):
        write_checkpoint(random_weights(_CONFIG), tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_safetensors_converts_to_pth(random_weights, tmp_path):
    pytest.importorskip("torch")
    weights, file = random_weights(_CONFIG), tmp_path / "model.safetensors"
    save(weights, file)
    done = _convert(f"--input={file}", f"--output={tmp_path / 'model.pth'}")
    assert done.returncode == 0, done.stderr
    for a, b in zip(jax.tree.leaves(load(tmp_path / "model.pth").params), jax.tree.leaves(weights.params), strict=True):
        np.testing.assert_array_equal(a, b)
    refused = _convert(f"--input={file}", f"--output={tmp_path / 'run'}", "--best")
    assert refused.returncode == 1 and "error: --best and --ema choose weights of a run directory" in refused.stderr


def _convert(*flags: str, shell: str = "") -> subprocess.CompletedProcess[str]:
    command = shlex.join([sys.executable, "-m", "mamkpd_jax", "convert", *flags])
    return subprocess.run(["bash", "-c", shell + command], cwd=_ROOT, capture_output=True, text=True)


def test_reading_a_run_logs_and_writes_nothing(run):
    code = (
        f"import logging; logging.basicConfig(); from pathlib import Path; from absl import logging as absl_logging; "
        f"from mamkpd_jax.artifact.checkpoints import read_checkpoint; read_checkpoint(Path({str(run)!r})); "
        "assert not absl_logging.get_absl_logger().filters, 'a user of the package has this logger too'"
    )
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    done = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
