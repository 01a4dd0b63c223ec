"""The command `mamkpd models`: listing and adding models by name."""

import os
import subprocess
import sys

import pytest

from tests.inference.conftest import config, random_weights, workdir

__all__ = ["config", "random_weights", "workdir"]


@pytest.fixture
def run(tmp_path):
    """Runs a command with a folder for the user's models; returns its exit status, output and errors."""

    def start(*arguments: str, folder=tmp_path / "models") -> tuple[int, str, str]:
        environment = os.environ | {"MAMKPD_MODELS": str(folder)}
        command = [sys.executable, "-m", "mamkpd_jax", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    return start


def test_an_added_model_is_listed_and_used(run, workdir, shared_data, tmp_path):
    status, printed, _ = run("models", "--add=mine", f"--checkpoint={workdir}")
    assert status == 0 and printed.startswith(f"mine: {tmp_path / 'models' / 'mine.'}")
    status, printed, _ = run("models")
    assert status == 0 and [line.split()[0] for line in printed.splitlines()] == ["name", "animals", "people", "mine"]
    assert "20 keypoints of animals" in printed and "PCK@0.2" in printed
    photo, output = shared_data / "coco_mini" / "000000000785.jpg", tmp_path / "out"
    status, printed, errors = run("predict", "--checkpoint=mine", f"--input={photo}", f"--output={output}")
    assert status == 0 and "1 person" in printed, errors


def test_a_damaged_card_affects_only_its_line(run, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bad.json").write_text("[]", encoding="utf-8")
    status, printed, _ = run("models")
    *_, people, bad = printed.splitlines()
    assert status == 0 and people.startswith("people ") and bad.split() == ["bad", "damaged", "-", "-", "-"]


def test_an_unwritable_folder_prints_one_line(run, workdir, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "models", "/proc/models"):
        status, _, errors = run("models", "--add=mine", f"--checkpoint={workdir}", folder=folder)
        *_, line = errors.splitlines()
        assert status == 1 and line.startswith(f"error: {folder} can't be written (") and "set MAMKPD_MODELS" in line


def test_a_name_without_a_model_is_refused(run):
    status, _, errors = run("models", "--add=mine")
    assert status == 1 and "error: --checkpoint is missing; give the model that --add names" in errors
