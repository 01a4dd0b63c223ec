"""Tests of the import of YOLO's pose labels in Ultralytics' layout."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.custom_coco import CustomCoco
from mamkpd_jax.data.imports._coco import write
from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import IMPORTS
from mamkpd_jax.skeleton_files import read_skeleton
from tests.data.imports.labelled import imported, keypoints, write_image
from tests.data.places import data_at

# Three keypoints of a 200x100 image: seen at (20, 25), hidden at (100, 50), unlabelled.
_LABEL = "0 0.5 0.5 0.4 0.6 0.1 0.25 2 0.5 0.5 1 0 0 0\n"
_FIELDS: dict[str, Any] = {"train": "images/train", "val": "images/val", "kpt_shape": [3, 3], "names": {0: "bird"}}


def _data_set(root: Path, label: str = _LABEL, **changes: Any) -> Path:
    """Writes a data set with two training images, the second without labels, and one validation image."""
    for name in ("train/a.png", "train/b.png", "val/c.png"):
        write_image(root / "images" / name)
    for name in ("train/a.txt", "val/c.txt"):
        path = root / "labels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(label, encoding="utf-8")
    (root / "data.yaml").write_text(yaml.safe_dump(_FIELDS | changes), encoding="utf-8")
    return root


def test_labels_become_pixels(tmp_path):
    files = imported("yolo", _data_set(tmp_path / "set"), tmp_path / "out")
    assert set(files) == {"train.json", "val.json"}
    train = files["train.json"]
    assert train["images"] == [
        {"id": 1, "file_name": "train/a.png", "height": 100, "width": 200},
        {"id": 2, "file_name": "train/b.png", "height": 100, "width": 200},
    ]
    (bird,) = train["annotations"]
    assert bird["bbox"] == pytest.approx([60, 20, 80, 60]) and bird["area"] == pytest.approx(0.53 * 80 * 60)
    assert keypoints(bird) == [[20, 25, 2], [100, 50, 1], [0, 0, 0]] and bird["num_keypoints"] == 2
    assert (bird["id"], bird["image_id"], bird["category_id"], bird["iscrowd"]) == (1, 1, 1, 0)
    names = ["keypoint_0", "keypoint_1", "keypoint_2"]
    assert train["categories"] == [{"id": 1, "name": "bird", "keypoints": names, "skeleton": []}]
    (other,) = files["val.json"]["annotations"]
    assert (other["id"], other["image_id"]) == (2, 3)


def test_without_visibility_zeros_and_negatives_are_unlabelled(tmp_path):
    root = _data_set(tmp_path / "set", "0 0.5 0.5 1 1 0.1 0.25 0 0 -1 0.5", kpt_shape=[3, 2])
    bird = imported("yolo", root, tmp_path / "out")["train.json"]["annotations"][0]
    assert keypoints(bird) == [[20, 25, 2], [0, 0, 0], [0, 0, 0]]


def test_keypoint_names_and_classes_are_kept(tmp_path):
    names = {0: ["beak", "left_wing", "right_wing"], 1: ["beak", "left_wing", "right_wing"]}
    root = _data_set(tmp_path / "set", _LABEL.replace("0", "1", 1), names=["cock", "hen"], kpt_names=names)
    train = imported("yolo", root, tmp_path / "out")["train.json"]
    assert [(c["id"], c["name"], c["keypoints"]) for c in train["categories"]] == [
        (1, "cock", names[0]),
        (2, "hen", names[0]),
    ]
    assert train["annotations"][0]["category_id"] == 2


@pytest.mark.parametrize("names", [None, {0: ["beak", "left_wing", "right_wing"]}])
def test_mirror_pairs_that_names_lack_are_written(tmp_path, names):
    root = _data_set(tmp_path / "set", flip_idx=[0, 2, 1], **({"kpt_names": names} if names else {}))
    files = imported("yolo", root, tmp_path / "out")
    assert ("skeleton.json" in files) == (names is None)
    if names is None:
        assert read_skeleton(tmp_path / "out" / "skeleton.json").flip_pairs == ((1, 2),)


def test_lists_of_images_and_of_folders_are_read(tmp_path):
    root = _data_set(tmp_path / "set", train=["images/train", "images/val"], val="lists/val.txt")
    (root / "lists").mkdir()
    (root / "lists" / "val.txt").write_text("../images/val/c.png\n\n", encoding="utf-8")
    files = imported("yolo", root / "data.yaml", tmp_path / "out")
    named = {split: [image["file_name"] for image in files[f"{split}.json"]["images"]] for split in ("train", "val")}
    assert named == {"train": ["train/a.png", "train/b.png", "val/c.png"], "val": ["val/c.png"]}


def test_moved_data_sets_are_found_beside_the_yaml(tmp_path):
    root = _data_set(tmp_path / "set", path="/gone/set", train="../images/train", test="images/val", val=None)
    assert set(imported("yolo", root, tmp_path / "out")) == {"train.json", "test.json"}


def test_sizes_are_those_of_upright_images(tmp_path):
    root = _data_set(tmp_path / "set")
    write_image(root / "images" / "train" / "a.jpg", 100, 200, orientation=6)
    (root / "images" / "train" / "a.png").unlink()
    write(IMPORTS["yolo"](root, None), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "train.json").read_bytes())
    assert (written["images"][0]["width"], written["images"][0]["height"]) == (200, 100)
    assert keypoints(written["annotations"][0])[0] == [20, 25, 2]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kpt_shape": [3]}, "data.yaml is not a data.yaml of YOLO pose labels .*; export it again or repair it"),
        ({"kpt_shape": [3, 4]}, r"kpt_shape \[3, 4\], expected the number of keypoints and 2 or 3"),
        ({"kpt_shape": [10**12, 3]}, "expected the number of keypoints"),
        ({"flip_idx": [1, 2, 0]}, r"flip_idx \[1, 2, 0\], expected the mirror keypoint of each of 3"),
        ({"names": ["a", "a"]}, "two classes of one name"),
        ({"kpt_names": {0: ["a"]}}, "1 names for class 0 and kpt_shape 3"),
        ({"kpt_names": {0: ["a", "a", "b"]}}, "two keypoints named 'a'"),
        ({"names": ["a", "b"], "kpt_names": {0: ["x", "y", "z"]}}, "categories a and b have different keypoints"),
        ({"train": None, "val": None}, "none of train, val, test is given"),
        ({"train": "gone"}, "set/gone does not exist"),
        ({"train": "labels"}, "no image in labels"),
        ({"label": "0 0.5 0.5 0.4 0.6 0.1\n"}, "a.txt is not .*line 1 .*6 values, expected 14 as kpt_shape says"),
        ({"label": "\n7" + _LABEL[1:]}, "line 2 .*class 7, which is not in names"),
        ({"label": _LABEL.replace("0.25", "25")}, "25, expected fractions of the image.s size from 0 to 1"),
        ({"label": _LABEL.replace("0.25", "nan")}, "nan, expected fractions"),
        ({"label": _LABEL.replace("0.25 2", "0.25 3")}, "visibility 3, expected 0 .unlabelled., 1 .hidden. or 2"),
        ({"label": "a bird"}, "could not convert string to float"),
        ({"label": ""}, "have no keypoint"),
    ],
)
def test_malformed_sets_are_refused(tmp_path, changes, match):
    root = _data_set(tmp_path / "set", **changes)
    with pytest.raises(UserError, match=match):
        imported("yolo", root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_files_are_named(tmp_path):
    root = _data_set(tmp_path / "set")
    with pytest.raises(UserError, match="leave --images out"):
        IMPORTS["yolo"](root, root)
    (root / "images" / "train" / "b.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match="b.png is a truncated or damaged image"):
        IMPORTS["yolo"](root, None)
    (root / "images" / "train" / "b.png").unlink()
    (root / "labels").rename(root / "Labels")
    with pytest.raises(UserError, match="a.png would have .*set/labels/train/a.txt: put the labels there"):
        IMPORTS["yolo"](root, None)
    (root / "other.yml").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="has 2 YAML files; give the data.yaml itself"):
        IMPORTS["yolo"](root, None)
    with pytest.raises(UserError, match="gone.yaml is not a YAML file with fields .*No such file"):
        IMPORTS["yolo"](root / "gone.yaml", None)


def test_training_reads_the_files(tmp_path):
    names = {0: ["beak", "left_wing", "right_wing"]}
    imported("yolo", _data_set(tmp_path / "set", kpt_names=names), tmp_path / "set")
    files = {f"{split}_annotations": f"{split}.json" for split in ("train", "val")}
    folders = {f"{split}_images": "images" for split in ("train", "val")}
    builder = prepare(CustomCoco(data_at(tmp_path / "set", tmp_path / "build", skeleton="", **files, **folders)))
    assert builder.skeleton.joints == tuple(names[0]) and builder.skeleton.flip_pairs == ((1, 2),)
    counts = builder.info.metadata["counts"]
    assert counts["train"] == {"images": 2, "annotations": 1, "instances": 1} and counts["val"]["instances"] == 1


def test_nothing_is_overwritten(tmp_path):
    root = _data_set(tmp_path / "set")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "val.json").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="val.json already exists; move it away, or give another folder by --output"):
        imported("yolo", root, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["val.json"]
