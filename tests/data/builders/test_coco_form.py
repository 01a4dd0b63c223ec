"""Tests of the builders' base class: only a finished build is used."""

import concurrent.futures
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.synthetic_people import SyntheticPeople

# Draws two images, prints a line, and then hangs at the third.
_STUCK_BUILD = """
import sys, time
from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.datasets import synthetic_people
from mamkpd_jax.data.builders.coco_form import prepare

def render(seed, index, size_hw, real=synthetic_people.render_scene):
    if index == 2:
        print("in the middle", file=sys.__stdout__, flush=True)  # a build discards sys.stdout
        time.sleep(600)
    return real(seed, index, size_hw)

synthetic_people.render_scene = render
data = DataConfig(build_dir=sys.argv[1], synthetic_train_images=4, synthetic_val_images=3)
prepare(synthetic_people.SyntheticPeople(data))
"""


def _few(n_train: int, n_val: int, build_dir: Path) -> DataConfig:
    return DataConfig(build_dir=str(build_dir), synthetic_train_images=n_train, synthetic_val_images=n_val)


def test_a_killed_build_is_built_again(tmp_path):
    command = [sys.executable, "-c", _STUCK_BUILD, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with process:
        try:
            assert process.stdout is not None and "in the middle\n" in process.stdout
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    assert list(tmp_path.rglob("*incomplete*")), "the build had not started"

    builder = SyntheticPeople(_few(4, 3, tmp_path))
    assert not builder.data_path.exists()
    assert prepare(builder).info.metadata["counts"]["train"]["images"] == 4
    assert not list(tmp_path.rglob("*incomplete*"))


def test_redirected_build_draws_no_progress_bars(tmp_path):
    build = """
import sys
from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.synthetic_people import SyntheticPeople

prepare(SyntheticPeople(DataConfig(build_dir=sys.argv[1], synthetic_train_images=2, synthetic_val_images=2)))
"""
    done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "examples/s" not in done.stderr and "splits" not in done.stderr, done.stderr
    assert list(tmp_path.rglob("*.array_record*"))


def test_prepare_waits_for_another_process(tmp_path):
    """A lock and a copy of a finished build simulate the other process."""
    finished = Path(prepare(SyntheticPeople(_few(2, 2, tmp_path / "finished"))).data_path)
    waiting = SyntheticPeople(_few(2, 2, tmp_path / "waiting"))
    folder = Path(waiting.data_path)
    partial = folder.parent / f"incomplete.ABCDEF_{folder.name}"
    partial.mkdir(parents=True)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        with filelock.FileLock(folder.parent / ".lock"):
            built = threads.submit(prepare, waiting)
            with pytest.raises(TimeoutError):
                built.result(timeout=0.5)
            assert partial.is_dir(), "the folder of a running build was removed"
            shutil.copytree(finished, partial, dirs_exist_ok=True)
            partial.rename(folder)
        assert built.result().info.metadata["counts"]["train"]["images"] == 2
