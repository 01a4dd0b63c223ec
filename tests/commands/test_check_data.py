"""The command `mamkpd check-data`, which reports all problems at once."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.data.exif import turned

NAMES = ["nose", "left_hand", "right_hand"]
ANNOTATION = {"category_id": 1, "bbox": [5, 5, 40, 30], "keypoints": [10, 10, 2, 20, 20, 1, 0, 0, 0]}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    image = np.full((60, 80, 3), 200, np.uint8)
    cv2.circle(image, (10, 10), 5, (0, 0, 255), -1)
    for i in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.jpg"), image)
    data = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 60, "width": 80} for i in range(3)],
        "annotations": [ANNOTATION | {"id": i, "image_id": i} for i in range(3)],
        "categories": [{"id": 1, "name": "robot", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}],
    }
    _write(tmp_path, data)
    return tmp_path


def _write(folder, data) -> None:
    (folder / "labels.json").write_text(json.dumps(data), encoding="utf-8")


def _edit(folder, change) -> None:
    data = json.loads((folder / "labels.json").read_bytes())
    change(data)
    _write(folder, data)


def _check(folder, *flags: str) -> subprocess.CompletedProcess:
    given = [f"--annotations={folder / 'labels.json'}", f"--images={folder / 'images'}", f"--output={folder / 'out'}"]
    command = [sys.executable, "-m", "mamkpd_jax", "check-data", *given, *flags]
    return subprocess.run(command, capture_output=True, text=True)


def test_valid_labels_pass_and_are_drawn(folder):
    done = _check(folder)
    assert done.returncode == 0 and "can be trained on" in done.stdout and done.stderr == ""
    for line in (
        "3 images, 3 instances to train on",
        "flip pairs: left_hand - right_hand; on the midline: nose",
        "edges: nose - left_hand, nose - right_hand",
        "images: 80 to 80 pixels wide, 60 to 60 high",
        "boxes: the longer side has 40 to 40 pixels, half of them at least 40; 0 have less than 32",
        " 1 left_hand         3        3",
        " 2 right_hand        0        0   never labelled",
        "  3 x iscrowd missing: taken as 0 (annotation 0, annotation 1, annotation 2)",
        "  3 x area missing: 0.53 of the box (annotation 0, annotation 1, annotation 2)",
    ):
        assert line in done.stdout.splitlines()
    picture = cv2.imread(str(folder / "out" / "samples.png"))
    assert picture.shape == (360, 4 * 360, 3)
    assert (np.ptp(picture.reshape(-1, 3), axis=0) > 100).all()  # the nose, the box, the keypoints


def test_all_problems_are_listed_at_once(folder):
    def spoil(data):
        data["annotations"][0]["bbox"] = [1, 2]
        data["annotations"][1]["image_id"] = 9
        data["images"][2]["width"] = 81
        data["images"].append({"id": 7, "file_name": "absent.jpg", "height": 1, "width": 1})

    _edit(folder, spoil)
    (folder / "images" / "1.jpg").write_bytes((folder / "images" / "1.jpg").read_bytes()[:300])
    done = _check(folder)
    assert done.returncode == 1 and "can't be trained on before this is repaired" in done.stderr
    refused = done.stdout.partition("refused (to be repaired)\n")[2].partition("\nderived")[0]
    assert "1 x bbox: expected 4 finite numbers: x, y, width, height (annotation 0 has [1, 2])" in refused
    assert "1 x image_id: expected that of an image in the file's list (annotation 1 has 9)" in refused
    assert "3 x image: expected a file of the labelled size below the image folder" in refused
    for reason in ("1.jpg is a truncated or damaged image", "2.jpg is 80x60 pixels", "absent.jpg is missing"):
        assert reason in refused


def test_one_sided_keypoint_needs_a_skeleton_file(folder):
    names = ["nose", "left_hand", "foot"]
    _edit(folder, lambda data: data["categories"][0].update(keypoints=names))
    done = _check(folder)
    line = "1 x keypoint with a side: expected its mirror image, or a skeleton file (left_hand)"
    assert done.returncode == 1 and line in done.stdout
    (folder / "robot.json").write_text(json.dumps({"joints": names, "flip_pairs": []}), encoding="utf-8")
    done = _check(folder, f"--skeleton={folder / 'robot.json'}")
    assert done.returncode == 0 and "(left_hand)" not in done.stdout


def test_far_keypoints_and_long_names_cause_no_traceback(folder):
    def spoil(data):
        data["annotations"][0]["keypoints"] = [1e9, -1e9, 2, 20, 20, 2, 30, 30, 2]
        data["annotations"][1]["bbox"] = [0, 0, 1e9, 1e9]
        data["images"].append({"id": 7, "file_name": "n" * 300 + ".jpg", "height": 1, "width": 1})

    _edit(folder, spoil)
    done = _check(folder)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "is missing" in done.stdout
    assert (folder / "out" / "samples.png").exists()


def test_both_readings_of_an_unclear_rotation_are_drawn(folder):
    path = folder / "images" / "0.jpg"
    path.write_bytes(turned(path.read_bytes(), 3))
    _edit(folder, lambda data: data["annotations"][0].update(keypoints=[60, 40, 2, 61, 41, 2, 62, 42, 2]))
    done = _check(folder)
    assert "read upright because of config.data.exif=upright (0.jpg)" in done.stdout
    assert "read stored because of config.data.exif=stored (0.jpg)" in _check(folder, "--exif=stored").stdout
    tile = cv2.imread(str(folder / "out" / "samples.png"))[:, :360]
    rows = np.flatnonzero((tile < 250).any(axis=(1, 2)))
    assert len(rows) == 135  # two pictures of 80 x 60 side by side, in a square of 360
    nose = (tile[..., 2] > 200) & (tile[..., 1] < 60) & (tile[..., 0] < 60)
    y, x = (int(places.mean()) - start for places, start in zip(np.nonzero(nose[:, :180]), (rows[0], 0), strict=True))
    assert abs(x - 22) < 5 and abs(y - 22) < 5, "the stored pixels are at the left: the red disc is at its upper left"


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda folder: (folder / "images").rename(folder / "away"), "--images: .*images is not a folder"),
        (lambda folder: _write(folder, []), "labels.json has no list 'images'"),
        (lambda folder: (folder / "labels.json").write_text("{"), "labels.json is not complete JSON"),
    ],
)
def test_missing_or_damaged_files_are_named(spoil, line, folder):
    spoil(folder)
    done = _check(folder)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert re.search(line, done.stderr)
