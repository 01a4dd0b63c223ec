"""The conversion of MPII's release, with a small release in the official layout of real persons of HRNet's list."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from mamkpd_jax.data.annotation_files import read_mpii_truth
from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.mpii import Mpii
from mamkpd_jax.errors import UserError
from mamkpd_jax.mpii_release import convert
from tests.copying import copy_folder
from tests.data.places import data_at

_EMPTY = np.zeros((0, 0))
_N_PERSONS = 20


def _structs(elements: list[dict]) -> np.ndarray:
    """A MATLAB struct array [1, n]."""
    array = np.zeros((1, len(elements)), [(name, object) for name in elements[0]])
    for i, element in enumerate(elements):
        array[0, i] = tuple(element.values())
    return array


def _rect(person: dict, head_box: np.ndarray, **changes) -> dict:
    """A person of HRNet's list as the release has it: joints in another order, some without visibility."""
    points = [
        {"x": float(x), "y": float(y), "id": joint, "is_visible": ("1", _EMPTY, 0)[joint % 3]}
        for joint, (x, y) in enumerate(person["joints"])
        if person["joints_vis"][joint]
    ]
    place = _structs([{"x": int(person["center"][0]), "y": int(person["center"][1])}])
    sides = dict(zip(("x1", "y1", "x2", "y2"), head_box.ravel().tolist(), strict=True))
    return {
        **sides,
        "annopoints": _structs([{"point": _structs(points[::-1])}]),
        "scale": person["scale"],
        "objpos": place,
    } | changes


@pytest.fixture(scope="module")
def persons(shared_data) -> tuple[list[dict], np.ndarray]:
    """HRNet's entries of 20 persons, first the five with images, and their head boxes [n, 2, 2]."""
    source = shared_data / "mpii"
    entries = json.loads((source / "mpii_valid.json").read_bytes())
    there = {path.name for path in (source / "images").iterdir()}
    rows = sorted(range(len(entries)), key=lambda i: entries[i]["image"] not in there)[:_N_PERSONS]
    heads = loadmat(source / "gt_valid.mat")["headboxes_src"].transpose(2, 0, 1)
    assert any(0 in entries[i]["joints_vis"] for i in rows), "the test needs an unlabelled joint"
    return [entries[i] for i in rows], heads[rows]


@pytest.fixture(scope="module")
def release(persons, tmp_path_factory) -> Path:
    """The persons, in every second image with another one without joints, and three of them also in other images.

    Further images have no persons, or one without a scale, a head area or the field of joints. One is a test image.
    """
    entries, heads = persons
    nobody = _rect(entries[0], heads[0], annopoints=_EMPTY)
    by_image: dict[str, list[dict]] = {}
    for entry, head in zip(entries, heads, strict=True):
        by_image.setdefault(entry["image"], []).append(_rect(entry, head))
    annolist = [(image, rects + [nobody] * (i % 2)) for i, (image, rects) in enumerate(by_image.items())]
    annolist += [(f"train_{i}.jpg", [_rect(entries[i], heads[i])]) for i in range(3)]
    annolist += [("nobody.jpg", []), ("no_scale.jpg", [_rect(entries[0], heads[0], scale=_EMPTY)])]
    annolist += [("flat_head.jpg", [_rect(entries[0], heads[0], y2=float(heads[0][0, 1]))])]
    annolist += [("test.jpg", [{"scale": 1.5, "objpos": _structs([{"x": 9, "y": 9}])}])]
    annolist += [("head_only.jpg", [{name: 1.0 for name in ("x1", "y1", "x2", "y2")}])]
    images = [
        {
            "image": _structs([{"name": name}]),
            "annorect": _structs(rects) if rects else _EMPTY,
            "frame_sec": _EMPTY,
            "vidx": _EMPTY if name == "test.jpg" else i // 2,
        }
        for i, (name, rects) in enumerate(annolist)
    ]
    img_train = np.array([[name != "test.jpg" for name, _ in annolist]], np.uint8)
    path = tmp_path_factory.mktemp("release") / "mpii_human_pose_v1_u12_1.mat"
    savemat(path, {"RELEASE": {"annolist": _structs(images), "img_train": img_train, "version": "12"}})
    return path


def test_conversion_matches_hrnets_list(release, persons, shared_data, tmp_path):
    entries, heads = persons
    (tmp_path / "list.json").write_text(json.dumps(entries), encoding="utf-8")
    counts = convert(release, tmp_path, tmp_path / "list.json")
    dropped = {"no joints": 10, "no position or scale": 1, "a head box without an area": 1}
    assert counts == {"train": 3, "valid": 20} | {f"dropped: {why}": n for why, n in dropped.items()}
    assert json.loads((tmp_path / "annot" / "valid.json").read_bytes()) == entries
    train = json.loads((tmp_path / "annot" / "train.json").read_bytes())
    assert train == [entry | {"image": f"train_{i}.jpg"} for i, entry in enumerate(entries[:3])]
    truth = read_mpii_truth(tmp_path / "annot" / "gt_valid.mat")
    np.testing.assert_array_equal(truth["head_box"], heads.reshape(-1, 4))
    np.testing.assert_array_equal(truth["visible"], [entry["joints_vis"] for entry in entries])
    official = read_mpii_truth(shared_data / "mpii" / "gt_valid.mat")
    rows = [np.argmin(np.abs(official["head_box"] - box).sum(axis=1)) for box in truth["head_box"]]
    difference = (official["joints"][rows] - truth["joints"]) * truth["visible"][..., None]
    assert np.abs(difference).max() < 1e-4  # HRNet's list has four decimals


def test_the_builder_reads_what_was_written(release, persons, shared_data, tmp_path):
    entries, _ = persons
    (tmp_path / "list.json").write_text(json.dumps(entries[:5]), encoding="utf-8")
    convert(release, tmp_path / "mpii", tmp_path / "list.json")
    copy_folder(shared_data / "mpii" / "images", tmp_path / "mpii" / "images")
    train = json.loads((tmp_path / "mpii" / "annot" / "train.json").read_bytes())
    for person in train:  # the shared data lacks the other images
        shutil.copy(tmp_path / "mpii" / "images" / entries[0]["image"], tmp_path / "mpii" / "images" / person["image"])
    counts = prepare(Mpii(data_at(tmp_path / "mpii", tmp_path / "build"))).info.metadata["counts"]
    assert counts["val"] == {"images": 5, "annotations": 5, "instances": 5}
    assert counts["train"]["annotations"] == len(train) == 18


def test_without_a_list_whole_videos_are_for_validation(release, tmp_path):
    counts = convert(release, tmp_path)
    train, valid = (json.loads((tmp_path / "annot" / f"{name}.json").read_bytes()) for name in ("train", "valid"))
    assert (counts["train"], counts["valid"]) == (len(train), len(valid)) and counts["train"] + counts["valid"] == 23
    images = [image["image"]["name"] for image in loadmat(release, simplify_cells=True)["RELEASE"]["annolist"]]
    videos = [{images.index(person["image"]) // 2 for person in part} for part in (train, valid)]
    assert all(videos) and not videos[0] & videos[1]


def test_the_command_prints_what_was_kept(release, tmp_path):
    command = [sys.executable, "-m", "mamkpd_jax", "mpii-release", f"--release={release}", f"--root={tmp_path}"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert "     10 dropped: no joints\n" in done.stdout
    again = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert again.returncode == 1 and again.stderr.startswith("error: ") and "already exists" in again.stderr


@pytest.mark.parametrize("content", [None, b"no", {"RELEASE": {"annolist": 1}}, {"other": 1}])
def test_files_without_a_release_are_refused(content, tmp_path):
    path = tmp_path / "release.mat"
    if isinstance(content, dict):
        savemat(path, content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="release.mat can't be read .*give MPII's"):
        convert(path, tmp_path / "mpii")
    assert not (tmp_path / "mpii").exists()


def test_a_list_of_other_persons_is_refused(release, persons, tmp_path):
    moved = [entry | {"center": [1.0, 1.0]} for entry in persons[0][:1]]
    (tmp_path / "list.json").write_text(json.dumps(moved), encoding="utf-8")
    with pytest.raises(UserError, match=r"list.json: person 0, of \d+.jpg, is not in the release"):
        convert(release, tmp_path / "mpii", tmp_path / "list.json")
    assert not (tmp_path / "mpii").exists()
