"""A second run with the same output folder: what it keeps, what it predicts again and why, what it reports."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from mamkpd_jax.artifact.weight_files import save
from tests.commands.in_process import Outcome, run_predict
from tests.inference.conftest import config, random_weights

__all__ = ["config", "random_weights"]


class Folder:
    """Pictures a.png, b.png and sub/a.png, a weights file, and a file of boxes for annotation."""

    def __init__(self, parent: Path, artifact):
        self.input, self.output, self.parent, self.artifact = parent / "in", parent / "out", parent, artifact
        for seed, name in enumerate(("a.png", "b.png", "sub/a.png")):
            self.paint(name, seed)
        self.train(1.0)

    def paint(self, name: str, seed: int) -> None:
        path = self.input / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (90, 120, 3), np.uint8))

    def train(self, scale: float) -> None:
        """Replaces the weights in the file, but not the step."""
        params = jax.tree.map(lambda leaf: leaf * np.float32(scale), self.artifact.params)
        save(dataclasses.replace(self.artifact, params=params), self.parent / "model.safetensors")

    def write_boxes(self, **lefts: int) -> str:
        """Writes a file with a box at x = `left` for each named picture; returns the flag."""
        names = {"a": "a.png", "b": "b.png", "sub_a": "sub/a.png"}
        images = [{"id": 10 + i, "file_name": names[key]} for i, key in enumerate(lefts)]
        annotations = [
            {"image_id": 10 + i, "category_id": 1, "bbox": [left, 5, 40, 60]} for i, left in enumerate(lefts.values())
        ]
        file = self.parent / "boxes.json"
        file.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
        return f"--boxes={file}"

    def predict(self, *flags: str) -> Outcome:
        model = f"--checkpoint={self.parent / 'model.safetensors'}"
        where = f"--input={self.input}", f"--output={self.output}"
        return run_predict(model, *where, *(flags or ("--boxes=whole",)))

    def results(self) -> dict[str, list]:
        found = json.loads((self.output / "results.json").read_bytes())
        return {pose["file_name"]: pose["keypoints"] for pose in found}


def again(outcome: Outcome) -> tuple[int, str]:
    """How many pictures were predicted, and the logged reasons for predicting some again."""
    assert outcome.status == 0, outcome
    why = re.search("pictures predicted again: (.*)", outcome.errors)
    return outcome.printed.count(" found, "), why[1] if why else ""


@pytest.fixture
def folder(config, random_weights, tmp_path) -> Folder:
    return Folder(tmp_path, random_weights(config))


def test_nothing_changed_predicts_nothing(folder):
    assert again(folder.predict()) == (3, "")
    before = folder.results()
    shutil.move(folder.parent / "model.safetensors", folder.parent / "moved.safetensors")
    shutil.copy(folder.parent / "moved.safetensors", folder.parent / "model.safetensors")
    outcome = folder.predict()
    assert again(outcome) == (0, "") and "3 of 3 pictures are done" in outcome.errors
    assert folder.results() == before and len(before) == 3
    assert again(folder.predict("--boxes=whole", "--overwrite")) == (3, "")


def test_a_replaced_picture_is_predicted_again(folder):
    folder.predict()
    before = folder.results()
    path = folder.input / "a.png"
    stat = path.stat()
    folder.paint("a.png", 7)
    path.write_bytes(path.read_bytes().ljust(stat.st_size, b"\0")[: stat.st_size])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size and path.stat().st_mtime_ns == stat.st_mtime_ns
    assert again(folder.predict()) == (1, "1 with changed picture")
    changed = {name for name, keypoints in folder.results().items() if keypoints != before[name]}
    assert changed == {"a.png"}


def test_other_pictures_of_the_same_names_are_predicted(folder):
    folder.predict()
    before = folder.results()
    folder.input = folder.parent / "other"
    for seed, name in enumerate(("a.png", "b.png", "sub/a.png"), start=7):
        folder.paint(name, seed)
    assert again(folder.predict()) == (3, "3 with changed picture")
    assert all(keypoints != before[name] for name, keypoints in folder.results().items())


def test_edited_boxes_are_predicted_again(folder):
    folder.predict(folder.write_boxes(a=1, b=2, sub_a=3))
    before = folder.results()
    assert again(folder.predict(folder.write_boxes(a=1, b=9, sub_a=3))) == (1, "1 with changed boxes")
    assert {name for name, keypoints in folder.results().items() if keypoints != before[name]} == {"b.png"}
    assert again(folder.predict(folder.write_boxes(a=1))) == (2, "2 with changed boxes")
    assert folder.results() == {"a.png": before["a.png"]}
    assert again(folder.predict("--boxes=whole")) == (3, "3 with changed box_threshold and boxes")


def test_other_weights_in_the_same_place_predict_again(folder):
    folder.predict()
    before = folder.results()
    folder.train(1.5)
    folder.paint("b.png", 7)
    assert again(folder.predict()) == (3, "2 with changed weights, 1 with changed picture and weights")
    assert all(keypoints != before[name] for name, keypoints in folder.results().items())


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("--noflip_test", "flip_test"),
        ("--noupright", "upright"),
        ("--nosuppress", "suppress"),
        ("--category=2", "category_id"),
        ("--box_threshold=0.5", "box_threshold and boxes"),
        ("--joint_threshold=0.9", "drawing"),
    ],
)
def test_other_options_predict_again(folder, flag, why):
    folder.predict()
    assert again(folder.predict("--boxes=whole", flag)) == (3, f"3 with changed {why}")
    assert again(folder.predict("--boxes=whole", flag)) == (0, "")


def test_drawings_follow_their_poses(folder):
    folder.predict()
    drawn = folder.output / "pictures" / "a.png"
    before = drawn.read_bytes()
    assert again(folder.predict("--boxes=whole", "--nodraw")) == (0, "")
    assert drawn.read_bytes() == before
    folder.train(1.5)
    folder.predict("--boxes=whole", "--nodraw")
    assert not drawn.exists(), "it would show other poses"
    assert again(folder.predict()) == (3, "3 with changed drawing")
    drawn.write_bytes(before)
    assert again(folder.predict()) == (1, "1 with changed drawing")


def test_removed_and_broken_pictures_are_not_reported(folder):
    folder.predict()
    (folder.input / "sub" / "a.png").unlink()
    (folder.input / "b.png").write_bytes(b"cut")
    outcome = folder.predict()
    assert outcome.status == 3 and "b.png is 3 bytes that are not an image" in outcome.errors
    assert set(folder.results()) == {"a.png"}
    assert (folder.output / "poses" / "sub" / "a.png.json").exists(), "a result is kept, because it may have taken long"
    assert not (folder.output / "pictures" / "b.png").exists()


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1", None])
def test_a_damaged_result_is_predicted_again(folder, damage):
    folder.predict()
    before = folder.results()
    path = folder.output / "poses" / "a.png.json"
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1) if damage is None else damage)
    assert again(folder.predict()) == (1, "1 with a damaged result")
    assert folder.results() == before


def test_a_refused_run_leaves_the_results(folder):
    folder.predict()
    before = folder.results()
    outcome = folder.predict(folder.write_boxes(a=1), "--category=5")
    assert outcome.status == 1 and "no box of category 5, only of 1; set --category" in outcome.errors
    assert folder.results() == before


def test_an_interrupted_run_reports_nothing(folder):
    folder.predict()
    folder.train(1.5)
    blocker = folder.output / "poses" / "b.png.partial.json"
    blocker.mkdir()  # so that this result can't be written
    assert folder.predict().status == 1
    assert not (folder.output / "results.json").exists()
    blocker.rmdir()
    assert again(folder.predict()) == (2, "")


@pytest.mark.slow  # it starts the program
def test_a_killed_run_leaves_no_outdated_results(folder):
    for i in range(100):
        shutil.copy(folder.input / "a.png", folder.input / f"{i}.png")
    folder.predict()
    stored = folder.output / "poses" / "0.png.json"
    folder.train(1.5)
    before = stored.read_bytes()
    command = [sys.executable, "-m", "mamkpd_jax", "predict", f"--checkpoint={folder.parent / 'model.safetensors'}"]
    command += [f"--input={folder.input}", f"--output={folder.output}", "--boxes=whole"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    while process.poll() is None and not (stored.exists() and stored.read_bytes() != before):
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended first"
    assert not (folder.output / "results.json").exists()
    n, why = again(folder.predict())
    assert 0 < n < 103 and why == ""
    resumed, folder.output = folder.results(), folder.parent / "fresh"
    folder.predict()
    assert resumed.keys() == folder.results().keys()
    for name, keypoints in folder.results().items():
        np.testing.assert_allclose(keypoints, resumed[name], atol=0.01)


def test_flags_of_videos_are_named_for_pictures(folder):
    outcome = folder.predict("--boxes=whole", "--smooth", "--max_frames=3")
    assert outcome.status == 0 and "--smooth, --max_frames: no effect on pictures" in outcome.errors
