"""The conversion of Leeds Sports Pose Extended and Animal-Pose, with small releases in their original form."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.custom_coco import CustomCoco
from mamkpd_jax.data.functional import box_around
from mamkpd_jax.errors import UserError
from mamkpd_jax.pose_release import convert, split_of_block
from mamkpd_jax.skeletons import SKELETONS
from tests.data.places import data_at

_WIDTH, _HEIGHT = 60, 50


def _write_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8)
    content = cv2.imencode(".jpg", noise)[1].tobytes()
    for name in names:
        (folder / name).write_bytes(content)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """Eight blocks of 100 images.

    Person 1 spans (11, 6) to (31, 46) and lacks a joint, 2 has a joint outside the image, 3 spans the image, 4 has five
    labelled joints.
    """
    folder = tmp_path_factory.mktemp("release")
    joints = np.zeros((14, 3, 800))
    joints[:, :2] = np.random.default_rng(1).uniform([[11], [6]], [[31], [46]], (14, 2, 800))
    joints[:2, :2] = np.array([[11, 6], [31, 46]])[..., None]
    joints[:, 2] = 1
    joints[5, :, 0] = -30, 0, 0
    joints[5, 0, 1] = _WIDTH + 0.5
    joints[0, :2, 2], joints[1, :2, 2] = (2, 1), (_WIDTH, _HEIGHT)
    joints[5:, 2, 3] = 0
    savemat(folder / "joints.mat", {"joints": joints})
    _write_images(folder / "images", [f"im{i:05d}.jpg" for i in range(1, 801)])
    return folder


def _animal(image: int, n_labelled: int = 20, **changes: Any) -> dict[str, Any]:
    keypoints = [[5 + i, 10 + i, 1] if i < n_labelled else [0, 0, 0] for i in range(20)]
    animal = {"image_id": image, "bbox": [5, 10, 40, 30], "keypoints": keypoints, "num_keypoints": n_labelled}
    return animal | {"category_id": 2} | changes


def _animals() -> dict[str, Any]:
    """Eight blocks of 40 images, numbered from the last name to the first, with an animal in each from a044.jpg on.

    a044.jpg has a second animal, which exceeds the image. a040.jpg has an animal with too few keypoints, and a041.jpg
    one outside the image.
    """
    images = {str(i): f"a{320 - i:03d}.jpg" for i in range(1, 321)}
    number = {name: int(i) for i, name in images.items()}
    animals = [_animal(number[f"a{i:03d}.jpg"]) for i in range(44, 320)]
    animals += [_animal(number["a044.jpg"], 3, category_id=1, bbox=[-2, 10, 70, 49]), _animal(number["a040.jpg"], 2)]
    animals += [_animal(number["a041.jpg"], bbox=[70, 10, 90, 30])]
    categories = [{"id": i, "name": name, "supercategory": "animal"} for i, name in ((1, "dog"), (2, "cat"))]
    return {"images": images, "annotations": animals, "categories": categories}


@pytest.fixture(scope="module")
def animals(tmp_path_factory) -> Path:
    folder, content = tmp_path_factory.mktemp("release"), _animals()
    (folder / "keypoints.json").write_text(json.dumps(content), encoding="utf-8")
    _write_images(folder / "images", list(content["images"].values()))
    return folder


def _written(root: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    train, val = (json.loads((root / f"{name}_{split}.json").read_bytes()) for split in ("train", "val"))
    assert not {image["file_name"] for image in train["images"]} & {image["file_name"] for image in val["images"]}
    return train, val


def test_people_are_split_by_blocks_of_100_images(people, tmp_path):
    counts = convert(people, tmp_path)
    dropped = {"dropped: fewer than 6 labelled keypoints": 1, "dropped: in neither split": 100}
    assert counts == {"train": 599, "val": 100} | dropped
    train, val = _written(tmp_path, "lspet")
    assert [image["id"] for image in val["images"]] == list(range(301, 401))
    assert val["images"][0] == {"id": 301, "file_name": "im00301.jpg", "height": _HEIGHT, "width": _WIDTH}
    assert {image["id"] for image in train["images"]} == {*range(1, 701)} - {4, *range(301, 401)}


def test_peoples_pixels_count_from_0(people, tmp_path):
    convert(people, tmp_path)
    first, second, third = _written(tmp_path, "lspet")[0]["annotations"][:3]
    keypoints = np.reshape(first["keypoints"], (14, 3))
    assert keypoints[:2].tolist() == [[10, 5, 2], [30, 45, 2]] and keypoints[5].tolist() == [0, 0, 0]
    assert first["num_keypoints"] == 13 and first["category_id"] == 1 and first["image_id"] == 1
    margin = 4 + 0.06 * 40  # above 5, below 49 - 45
    assert first["bbox"] == pytest.approx([10 - margin, 0, 20 + 2 * margin, 49])
    assert first["area"] == pytest.approx(0.53 * (20 + 2 * margin) * 49)
    assert second["keypoints"][15:18] == [0, 0, 0] and second["num_keypoints"] == 13
    assert third["bbox"] == [0, 0, _WIDTH - 1, _HEIGHT - 1] and third["num_keypoints"] == 14


def test_animals_are_split_by_blocks_of_40_names(animals, tmp_path):
    counts = convert(animals, tmp_path)
    dropped = {"in neither split": 40, "fewer than 3 labelled keypoints": 1, "a box without an area": 1}
    assert counts == {"train": 197, "val": 40} | {f"dropped: {why}": n for why, n in dropped.items()}
    train, val = _written(tmp_path, "animalpose")
    assert {image["file_name"] for image in val["images"]} == {f"a{i:03d}.jpg" for i in range(120, 160)}
    by_id = {image["id"]: image["file_name"] for image in train["images"]}
    assert {*by_id.values()} == {f"a{i:03d}.jpg" for i in range(44, 280)} - {f"a{i:03d}.jpg" for i in range(120, 160)}
    cat, dog = (a for a in train["annotations"] if by_id[a["image_id"]] == "a044.jpg")
    assert cat["bbox"] == [5, 10, 35, 20] and cat["category_id"] == 2 and cat["num_keypoints"] == 20
    assert cat["keypoints"][:6] == [5, 10, 2, 6, 11, 2] and cat["area"] == pytest.approx(0.53 * 35 * 20)
    assert dog["bbox"] == [0, 10, _WIDTH - 1, _HEIGHT - 11] and dog["category_id"] == 1 and dog["num_keypoints"] == 3
    assert [(c["id"], c["name"]) for c in train["categories"]] == [(1, "dog"), (2, "cat")]


@pytest.mark.parametrize(("name", "n_val", "n_train"), [("people", 100, 599), ("animals", 40, 196)])
def test_builder_reads_the_files(name, n_val, n_train, request, tmp_path):
    root, set_name = request.getfixturevalue(name), {"people": "lspet", "animals": "animalpose"}[name]
    convert(root, tmp_path / "data")
    shutil.copytree(root / "images", tmp_path / "data" / "images")
    files = {f"{split}_annotations": f"{set_name}_{split}.json" for split in ("train", "val")}
    builder = prepare(CustomCoco(data_at(tmp_path / "data", tmp_path / "build", skeleton="", **files)))
    known = SKELETONS[set_name]  # the files' categories have the same joints
    assert (builder.skeleton.joints, builder.skeleton.flip_indices) == (known.joints, known.flip_indices)
    counts = builder.info.metadata["counts"]
    assert counts["val"] == {"images": n_val, "annotations": n_val, "instances": n_val}
    assert counts["train"]["images"] == n_train and counts["train"]["instances"] in (599, 197)


def test_command_prints_counts_and_refuses_to_overwrite(animals, tmp_path):
    command = [sys.executable, "-m", "mamkpd_jax", "pose-release", f"--release={animals}", f"--root={tmp_path}"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert "    197 train\n     40 val\n" in done.stdout
    assert f"move or link {animals / 'images'} to {tmp_path / 'images'}" in done.stdout
    again = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert again.returncode == 1 and again.stderr.startswith("error: ") and "already exists" in again.stderr


def _refused(release: Path, root: Path, match: str) -> None:
    with pytest.raises(UserError, match=match):
        convert(release, root)
    assert not list(root.glob("*.json"))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "has neither joints.mat nor keypoints.json; give"),
        (b"no", r"joints.mat can't be read .*expected a .mat"),
        (np.zeros((3, 14, 5)), r"joints of shape \(3, 14, 5\); expected \(14, 3, images\)"),
        (np.zeros((14, 3, 0)), "has no pose for lspet_train.json; give the complete release"),
        (np.ones((14, 3, 2)), "images lacks 2 of the 2 annotated images"),
    ],
)
def test_unusable_joints_are_refused(content, match, tmp_path):
    (tmp_path / "images").mkdir()
    if isinstance(content, bytes):
        (tmp_path / "joints.mat").write_bytes(content)
    elif content is not None:
        savemat(tmp_path / "joints.mat", {"joints": content})
    _refused(tmp_path, tmp_path / "root", match)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"images": ["a.jpg"]}, r"not in Animal-Pose's form \(AttributeError"),
        ({"annotations": [_animal(999)]}, r"not in Animal-Pose's form \(KeyError: 999\); give"),
        ({"annotations": [_animal(1, bbox=[1, 2, 3])]}, "not in Animal-Pose's form .*unpack"),
        ({"annotations": [_animal(1, keypoints=[[1, 2, 1]])]}, "not in Animal-Pose's form .*reshape"),
        ({"annotations": [_animal(1, category_id=9)]}, r"not in Animal-Pose's form \(KeyError: 9\)"),
        ({"annotations": [_animal(320)]}, "has no pose for animalpose_val.json"),
        ({"categories": None}, r"not in Animal-Pose's form \(TypeError"),
    ],
)
def test_unusable_keypoints_are_refused(changes, match, animals, tmp_path):
    (tmp_path / "keypoints.json").write_text(json.dumps(_animals() | changes), encoding="utf-8")
    (tmp_path / "images").symlink_to(animals / "images")
    _refused(tmp_path, tmp_path / "root", match)


def test_missing_folder_and_damaged_image_are_refused(animals, tmp_path):
    shutil.copy(animals / "keypoints.json", tmp_path)
    _refused(tmp_path, tmp_path / "root", "images is missing; unpack the release's images there")
    _write_images(tmp_path / "images", list(_animals()["images"].values()))
    (tmp_path / "images" / "a130.jpg").write_bytes(b"\xff\xd8")
    _refused(tmp_path, tmp_path / "root", "a130.jpg is a truncated or damaged image")


def _prepared(shared_data: Path, name: str) -> dict[str, dict[str, Any]]:
    with zipfile.ZipFile(shared_data / name / f"{name}.zip") as archive:
        return {split: json.loads(archive.read(f"{name}/{name}_{split}.json")) for split in ("train", "val")}


def test_people_match_the_shipped_models_data(shared_data):
    boxes, away, numbers = 0, 0.0, set()
    for split, content in _prepared(shared_data, "lspet").items():
        for image, annotation in zip(content["images"], content["annotations"], strict=True):
            assert split_of_block((image["id"] - 1) // 100) == split
            numbers.add(image["id"])
            joints = np.reshape(annotation["keypoints"], (14, 3))
            x, y, width, height = box_around(joints[joints[:, 2] > 0, :2])
            last = image["width"] - 1, image["height"] - 1
            corners = np.clip([[x, y], [x + width, y + height]], 0, last)
            expected = np.array(annotation["bbox"])
            away = max(away, np.abs(corners - [expected[:2], expected[:2] + expected[2:]]).max())
            boxes += 1
    assert boxes == 9491 and away < 0.02  # pixels; the file has two decimals
    left_out = {i for i in range(1, 10001) if split_of_block((i - 1) // 100) is None}
    assert len(left_out) == 500 and not left_out & numbers


def test_animals_match_the_shipped_models_split(shared_data):
    """Of the release's 4,608 images the last 1,000 by name are known: 200 of each species, each with an animal."""
    found = {}
    for split, content in _prepared(shared_data, "animalpose").items():
        found |= {image["source_image"].split(".")[0]: split for image in content["images"]}
    stems = sorted(f"{species}{i}." for species in ("ca", "co", "do", "ho", "sh") for i in range(1, 201))
    splits = [split_of_block((3608 + i) // 40) for i in range(1000)]
    assert [found.get(stem[:-1]) for stem in stems] == splits and splits.count(None) == 40
