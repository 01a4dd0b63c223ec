"""Tests of labels whose keypoints have another order or spelling than those of the skeleton."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.custom_coco import CustomCoco
from mamkpd_jax.data.labels import read_labels, usable_labels
from mamkpd_jax.data.source import InstanceSource
from mamkpd_jax.data.splitting import split_annotations
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import ANIMALPOSE, COCO, SKELETONS

# The keypoints in MMPose's animalpose_train.json.
MMPOSE = (
    *("L_Eye", "R_Eye", "L_EarBase", "R_EarBase", "Nose", "Throat", "TailBase", "Withers"),
    *(f"{side}_{end}_{part}" for part in ("Elbow", "Knee", "Paw") for end in "FB" for side in "LR"),
)
# The same keypoints by their names in this package.
OURS = (
    *("left_eye", "right_eye", "left_ear", "right_ear", "nose", "throat", "tailbase", "withers"),
    *(f"{s}_{e}_{part}" for part in ("elbow", "knee", "paw") for e in ("front", "back") for s in ("left", "right")),
)


def _content(names, n_images: int = 6) -> dict:
    """Labels with one animal in each image. The x of a keypoint is its index among the names plus 2."""
    keypoints = [value for x in range(len(names)) for value in (x + 2, 20, 2)]
    fields = {"category_id": 1, "iscrowd": 0, "num_keypoints": len(names), "area": 500.0, "bbox": [1, 10, 40, 25]}
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 48, "width": 64} for i in range(n_images)],
        "annotations": [fields | {"id": i, "image_id": i, "keypoints": keypoints} for i in range(n_images)],
        "categories": [{"id": 1, "name": "dog", "keypoints": list(names), "skeleton": [[1, 2]]}],
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of images, with labels in MMPose's order."""
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((48, 64, 3), 40 * i, np.uint8))
    (tmp_path / "labels.json").write_text(json.dumps(_content(MMPOSE)), encoding="utf-8")
    return tmp_path


def _expected_x(skeleton=ANIMALPOSE, order=OURS) -> list[int]:
    return [order.index(joint) + 2 for joint in skeleton.joints]


def _mamkpd(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mamkpd_jax", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)


def test_a_data_set_in_mmpose_order_is_mapped(folder):
    data = DataConfig(
        dataset="custom_coco",
        root=str(folder),
        train_annotations="labels.json",
        val_annotations="labels.json",
        train_images=".",
        val_images=".",
        skeleton="animalpose",
        build_dir=str(folder / "build"),
    )
    builder = prepare(CustomCoco(data))
    source = InstanceSource(builder, "val")
    assert source[0]["keypoints"][:, 0].tolist() == _expected_x()
    assert source.ground_truth["annotations"][0]["keypoints"][::3] == _expected_x()
    (note,) = (note for note in builder.notes["val"] if "order" in note)
    assert note.startswith("derived: 1 x keypoints in another order than the skeleton animalpose: mapped by name")


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
@pytest.mark.parametrize(
    "spell", [str, lambda name: name.replace("_", " ").title(), lambda name: re.sub("_", "", name)]
)
def test_every_named_skeleton_is_mapped(skeleton, spell):
    order = list(skeleton.joints)
    random.Random(0).shuffle(order)
    labels = usable_labels(Path("labels.json"), _content([spell(name) for name in order]), skeleton)
    assert labels.annotations[0]["keypoints"][::3] == _expected_x(skeleton, order)


def test_labels_in_skeleton_order_are_unchanged(folder):
    labels = usable_labels(folder / "labels.json", _content(ANIMALPOSE.joints), ANIMALPOSE)
    assert labels.annotations[0]["keypoints"][::3] == list(range(2, 22)) and not labels.findings.lines()


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("L_Horn", *MMPOSE[1:]), "the labels have 'L_Horn' and lack 'left_eye'; give the skeleton of these labels"),
        (MMPOSE[:-1], "the labels lack 'right_back_paw'"),
        ((*MMPOSE, "tongue"), "the labels have 'tongue';"),
        (("left_eye", *MMPOSE[1:4], "LeftEye", *MMPOSE[5:]), "the labels lack 'nose'"),
        (tuple(f"point{i}" for i in range(20)), r"the labels have 'point0' \(and 19 more\) and lack 'left_eye' \("),
    ],
)
def test_other_keypoints_are_refused(names, line):
    with pytest.raises(UserError, match=f"labels.json: the keypoints are not those of .* 'animalpose': {line}"):
        usable_labels(Path("labels.json"), _content(names), ANIMALPOSE)


def test_each_category_has_its_own_order():
    content = _content(MMPOSE)
    content["categories"].append({"id": 2, "name": "cat", "keypoints": list(ANIMALPOSE.joints)})
    content["annotations"][1]["category_id"] = 2
    dog, cat, *_ = usable_labels(Path("labels.json"), content, ANIMALPOSE).annotations
    assert dog["keypoints"][::3] == _expected_x() and cat["keypoints"][::3] == list(range(2, 22))


def test_check_data_reports_the_mapping(folder):
    flags = (f"--images={folder}", f"--annotations={folder / 'labels.json'}", f"--output={folder / 'out'}")
    done = _mamkpd("check-data", *flags, "--skeleton=animalpose")
    assert done.returncode == 0, done.stderr
    assert "skeleton animalpose: mapped by name (dog)" in done.stdout
    done = _mamkpd("check-data", *flags, "--skeleton=coco")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "are not those of the skeleton 'coco': the labels have 'Throat'" in done.stderr, done.stderr


def test_results_are_scored_against_mapped_labels(folder):
    """The results have the skeleton's order, and all joints are correct."""
    results = [
        {"image_id": i, "category_id": 1, "score": 1.0, "annotation_id": i}
        | {"keypoints": [value for x in _expected_x() for value in (x, 20, 1)]}
        for i in range(6)
    ]
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    files = (f"--predictions={folder / 'results.json'}", f"--annotations={folder / 'labels.json'}")
    done = _mamkpd("eval", "--config=animalpose", *files, f"--report={folder / 'out.json'}")
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "out.json").read_bytes())
    assert report["pck_box@0.1/mean"] == 100 and report["coco/AP"] == pytest.approx(1)
    assert done.stderr.count("mapped by name") == 1, done.stderr


def test_split_labels_are_read_again_unchanged(folder):
    train, _ = split_annotations(folder / "labels.json", folder / "split", ANIMALPOSE)
    for skeleton in (ANIMALPOSE, None):
        labels = read_labels(train, skeleton)
        assert labels.annotations[0]["keypoints"][::3] == _expected_x() and labels.skeleton.joints == ANIMALPOSE.joints
        assert not labels.findings.lines()


def test_a_category_without_names_keeps_its_order():
    content = _content(COCO.joints) | {"categories": [{"id": 1, "name": "person"}]}
    assert usable_labels(Path("labels.json"), content, COCO).annotations[0]["keypoints"][::3] == list(range(2, 19))
