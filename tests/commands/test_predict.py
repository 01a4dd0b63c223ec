"""The command `mamkpd predict` as a user runs it: good and bad pictures, a second run, and mistakes."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.copying import copy_folder
from tests.inference.conftest import config, random_weights, workdir

__all__ = ["config", "random_weights", "workdir"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(workdir):
    """Runs the program without the flip test; returns its exit status, output and errors."""

    def start(*flags: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "mamkpd_jax", "predict", f"--checkpoint={workdir}", "--noflip_test", *flags]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    return start


def _bomb(path: Path, side: int) -> None:
    """Writes a black PNG of side x side one-bit pixels, whose file has only a few kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + side // 8) * side), 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


@pytest.fixture
def folder(shared_data, tmp_path) -> Path:
    """Four real pictures, one of them in a subfolder, and one unusual or broken picture of each kind."""
    folder = tmp_path / "in"
    copy_folder(shared_data / "coco_mini", folder, ignore=shutil.ignore_patterns("*.json"))
    (folder / "below").mkdir()
    (folder / "000000000785.jpg").rename(folder / "below" / "000000000785.jpg")
    image = cv2.imread(str(folder / "000000197388.jpg"))
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    cv2.imwrite(str(folder / "1.png"), grey)
    cv2.imwrite(str(folder / "2.png"), np.dstack([image, grey]))
    cv2.imwrite(str(folder / "3.png"), image.astype(np.uint16) * 257)
    (folder / "4.jpg").write_text("a renamed text file", encoding="utf-8")
    (folder / "5.jpg").touch()
    _bomb(folder / "6.png", 20_000)
    return folder


def test_a_folder_is_completed_by_a_second_run(run, folder, shared_data):
    output = folder / "out"
    detections = json.loads((shared_data / "coco_mini" / "test_coco_det_AP_H_56.json").read_bytes())
    detections += [
        {"image_id": i, "category_id": 1, "bbox": [100, 100, 150, 200], "score": 0.9} for i in (1, 2, 3, 4, 5, 6)
    ]
    outside = {"image_id": 785, "category_id": 1, "bbox": [900, 0, 10, 10], "score": 0.9}
    nan = {"image_id": 785, "category_id": 1, "bbox": [float("nan"), 0, 10, 10], "score": 0.9}
    (folder / "boxes.json").write_text(json.dumps([*detections, outside, nan]), encoding="utf-8")
    flags = f"--input={folder}", f"--output={output}", f"--boxes={folder / 'boxes.json'}"
    status, _, errors = run(*flags)
    assert status == 3
    *_, title, a, b, c, d, e = errors.strip().splitlines()
    assert title == "problems (5):"
    assert "4.jpg is 19 bytes that are not an image" in a and "5.jpg is 0 bytes" in b
    assert "6.png is an image of more than 134 million pixels; make it smaller" in c
    assert "(900, 0, 10, 10) lies outside" in d and "is not in finite numbers; it was left out" in e

    results = json.loads((output / "results.json").read_bytes())
    by_image = {i: [r for r in results if r["image_id"] == i] for i in (1, 2, 3, 785, 40083, 196141, 197388)}
    assert sum(map(len, by_image.values())) == len(results) and all(by_image.values())
    assert {r["file_name"] for r in by_image[785]} == {"below/000000000785.jpg"}
    # The same pixels in 16 bits and with alpha.
    assert by_image[2][0]["keypoints"] == by_image[3][0]["keypoints"] != by_image[1][0]["keypoints"]
    assert cv2.imread(str(output / "pictures" / "below" / "000000000785.jpg")).shape == (425, 640, 3)

    (output / "poses" / "2.png.json").unlink()
    shutil.copy(folder / "1.png", folder / "4.jpg")
    before = (output / "poses" / "1.png.json").stat().st_mtime_ns
    status, _, errors = run(*flags)
    assert status == 3 and "6 of 10 pictures are done in" in errors
    assert "problems (4):" in errors
    assert (output / "poses" / "1.png.json").stat().st_mtime_ns == before
    again = json.loads((output / "results.json").read_bytes())
    assert [r for r in again if r["image_id"] != 4] == results and any(r["image_id"] == 4 for r in again)


def test_whole_takes_each_picture_as_a_box(run, folder, tmp_path):
    output = tmp_path / "out"
    status, printed, _ = run(f"--input={folder}/0*.jpg", f"--output={output}", "--boxes=whole", "--nodraw")
    assert status == 0
    *lines, last = printed.splitlines()
    assert [re.sub(r"\d+\.\d\d s", "S s", line) for line in lines] == [
        f"{folder}/{name:012}.jpg: 1 person found, S s" for name in (40083, 196141, 197388)
    ]
    assert last == f"the poses are in {output / 'results.json'}"
    results = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert [r["image_id"] for r in results] == [40083, 196141, 197388]


@pytest.fixture
def shipped(tmp_path):
    """Runs the program in a new folder with the shipped models and detector; returns the same as `run`."""

    def start(*flags: str) -> tuple[int, str, str]:
        command, environment = [sys.executable, "-m", "mamkpd_jax", "predict"], os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*command, *flags], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        return done.returncode, done.stdout, done.stderr

    return start


def test_a_photo_needs_no_other_flag(shipped, shared_data, tmp_path):
    photo = shared_data / "coco_mini" / "000000197388.jpg"
    for folder in ("predict", "predict-2"):
        status, printed, errors = shipped(f"--input={photo}", "--print")
        assert status == 0, errors
        head, *poses, last = printed.splitlines()
        n = int(re.fullmatch(rf"{re.escape(str(photo))}: (\d) people found, \d+\.\d\d s", head)[1])
        assert n >= 2 and len(poses) == n * (1 + 14) and poses[1].split()[0] == "right_ankle"
        assert last == f"the poses are in runs/{folder}/results.json, drawn in runs/{folder}/pictures"
        results = json.loads((tmp_path / "runs" / folder / "results.json").read_bytes())
        assert len(results) == n and all(len(pose["keypoints"]) == 3 * 14 for pose in results)
        drawn, image = cv2.imread(str(tmp_path / "runs" / folder / "pictures" / photo.name)), cv2.imread(str(photo))
        assert drawn.shape == image.shape and (drawn != image).any()


def test_a_refused_video_leaves_no_folder(shipped, tmp_path):
    (tmp_path / "clip.mp4").write_text("no video")
    status, _, errors = shipped("--input=clip.mp4")
    assert status == 1 and "error: clip.mp4 can't be opened as a video" in errors
    assert list((tmp_path / "runs").iterdir()) == []


def test_only_options_that_change_poses_predict_again(shipped, shared_data, tmp_path):
    shutil.copy(shared_data / "coco_mini" / "000000000785.jpg", tmp_path / "写真.jpg")
    status, printed, errors = shipped("--input=.", "--output=runs/mine")
    assert status == 0 and printed.startswith("写真.jpg: 1 person found"), errors
    status, printed, _ = shipped("--input=.", "--print")
    assert status == 0 and printed.count("found") == 1, "the drawn picture is not an input"
    status, printed, errors = shipped("--input=.", "--output=runs/mine", "--classes=dog")
    assert status == 0 and printed.startswith("写真.jpg: ")
    assert "1 pictures predicted again: 1 with changed boxes" in errors
    status, printed, _ = shipped("--input=.", "--output=runs/mine", "--classes=dog", "--print")
    assert status == 0 and "found" not in printed, "--print does not change poses"


def test_picture_without_people_is_reported_and_written(shipped, tmp_path):
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((120, 160, 3), 90, np.uint8))
    status, printed, _ = shipped("--input=wall.png")
    assert status == 0 and re.match(r"wall.png: no people found, \d+\.\d\d s\n", printed)
    assert json.loads((tmp_path / "runs" / "predict" / "results.json").read_bytes()) == []
    assert (tmp_path / "runs" / "predict" / "pictures" / "wall.png").exists()


def test_animals_are_found_by_their_model(shipped, shared_data):
    status, printed, errors = shipped(f"--input={shared_data / 'ap10k' / 'images'}", "--checkpoint=animals")
    assert status == 0, errors
    assert [line.split(": ")[1].split(",")[0] for line in printed.splitlines()[:-1]] == ["1 animal found"] * 2


@pytest.mark.slow  # half a minute
def test_a_video_needs_no_other_flag(shipped, shared_data, tmp_path):
    """The video has 60 frames of a view that moves over a photo of a skier."""
    image = cv2.imread(str(shared_data / "coco_mini" / "000000000785.jpg"))
    film = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30, (480, 400))
    for i in range(60):
        film.write(np.ascontiguousarray(image[10:410, 100 + i : 580 + i]))
    film.release()
    status, _, errors = shipped("--input=clip.mp4", "--detect_every=5")
    assert status == 0, errors
    results = json.loads((tmp_path / "runs" / "predict" / "results.json").read_bytes())
    skier = [pose for pose in results if pose["track_id"] == 1]
    assert {pose["frame"] for pose in skier} == set(range(60))
    assert (tmp_path / "runs" / "predict" / "clip.mp4").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input=none.jpg", "--output=x"], "--input=none.jpg: no picture found; give"),
        (["--input=", "--output=x"], "--input=: no picture found; give"),
        (
            ["--input=docs", "--output=x", "--checkpoint=peple"],
            "peple is no model, folder or file; expected animals, people",
        ),
        (
            ["--input=docs", "--output=x", "--classes=cats"],
            "--classes names 'cats'; expected an index below 80, or one of person",
        ),
        (
            ["--input=docs", "--output=x", "--classes=dog", "--boxes=whole"],
            "--classes has no effect with --boxes=whole; leave one of them out",
        ),
        (["--input=docs", "--output=x", "--box_threshold=nan"], "flag --box_threshold=nan: give a finite number"),
        (["--input=docs", "--output=x", "--joint_threshold=inf"], "flag --joint_threshold=inf: give a finite number"),
        (["--input=docs", "--output=x", "--boxes=yolo.pt"], "the boxes are 'yolo.pt'; expected auto, nanodet, whole"),
    ],
)
def test_mistakes_print_one_line(run, flags, message):
    status, _, errors = run(*flags)
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert status == 1 and len(lines) == 1 and message in lines[0] and not (ROOT / "x" / "results.json").exists()
