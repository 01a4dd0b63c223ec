"""Tests of the conversion of annotation files in COCO's form to YOLO's pose labels, and of the round trip."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mamkpd_jax.data.yolo_export import export_yolo
from mamkpd_jax.errors import UserError
from tests.data.imports.labelled import imported, write_image

_JOINTS = ["beak", "left_wing", "right_wing"]


def _annotation(i: int, image: int, box: list[float], keypoints: list[float], category: int = 3) -> dict[str, Any]:
    labelled = sum(v > 0 for v in keypoints[2::3])
    ids = {"id": i, "image_id": image, "category_id": category, "iscrowd": 0}
    return ids | {"bbox": box, "area": box[2] * box[3], "keypoints": keypoints, "num_keypoints": labelled}


def _content() -> dict[str, Any]:
    """Annotations of two birds in the first of two images, and none in the second."""
    names = ("sub/a.png", "b.jpg")
    return {
        "images": [{"id": i, "file_name": name, "width": 231, "height": 117} for i, name in enumerate(names, start=5)],
        "annotations": [
            _annotation(1, 5, [10.1, 20.7, 77.3, 60.9], [33.33, 44.44, 2, 51.7, 60.123, 1, 0, 0, 0]),
            _annotation(2, 5, [0, 0, 231, 117], [1 / 3, 116.5, 2, 230.9, 2 / 3, 2, 7, 8, 1], 8),
        ],
        "categories": [{"id": i, "name": name, "keypoints": _JOINTS} for i, name in ((8, "hen"), (3, "cock"))],
    }


def _written(folder: Path, content: dict[str, Any], name: str = "all.json") -> Path:
    for image in content["images"]:
        write_image(folder / "images" / image["file_name"], image["width"], image["height"])
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder / name


def test_round_trip_keeps_pixels_and_visibility(tmp_path):
    content = _content()
    export_yolo({"train": _written(tmp_path, content)}, tmp_path / "images", tmp_path / "yolo")
    back = imported("yolo", tmp_path / "yolo", tmp_path / "back")["train.json"]
    assert {image["file_name"]: (image["width"], image["height"]) for image in back["images"]} == {
        "sub/a.png": (231, 117),
        "b.jpg": (231, 117),
    }
    names = [{category["id"]: category["name"] for category in part["categories"]} for part in (content, back)]
    assert back["categories"][0]["keypoints"] == _JOINTS
    for before, after in zip(content["annotations"], back["annotations"], strict=True):
        assert names[0][before["category_id"]] == names[1][after["category_id"]]
        np.testing.assert_allclose(after["bbox"], before["bbox"], atol=1e-3)
        np.testing.assert_allclose(after["keypoints"], before["keypoints"], atol=1e-3)
        assert after["keypoints"][2::3] == before["keypoints"][2::3]


def test_round_trip_keeps_the_files(tmp_path):
    export_yolo({"train": _written(tmp_path, _content())}, tmp_path / "images", tmp_path / "first")
    imported("yolo", tmp_path / "first", tmp_path / "back")
    export_yolo({"train": tmp_path / "back" / "train.json"}, tmp_path / "first/images/train", tmp_path / "second")
    for file in ("data.yaml", "labels/train/sub/a.txt", "labels/train/b.txt", "images/train/b.jpg"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_yaml_has_shape_mirror_keypoints_and_names(tmp_path):
    file = _written(tmp_path, _content())
    export_yolo({"train": file, "val": file}, tmp_path / "images", tmp_path / "yolo")
    assert yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_bytes()) == {
        "train": "images/train",
        "val": "images/val",
        "kpt_shape": [3, 3],
        "flip_idx": [0, 2, 1],
        "names": {0: "cock", 1: "hen"},
        "kpt_names": {0: _JOINTS, 1: _JOINTS},
    }


def test_coordinates_are_relative_to_the_image(tmp_path):
    content = _content()
    content["images"] = [content["images"][1] | {"width": 200, "height": 100}]
    content["annotations"] = [_annotation(1, 6, [-20, 10, 60, 40], [50, 25, 1, 201, 5, 2, 0, 0, 0])]
    content["annotations"].append(content["annotations"][0] | {"id": 2, "iscrowd": 1})
    counts = export_yolo({"train": _written(tmp_path, content)}, tmp_path / "images", tmp_path / "yolo")
    line = (tmp_path / "yolo/labels/train/b.txt").read_text(encoding="utf-8").split()
    assert list(map(float, line)) == [0, 0.1, 0.3, 0.2, 0.4, 0.25, 0.25, 1, 0, 0, 0, 0, 0, 0]
    left_out = {"crowds left out": 1, "keypoints outside their image, now unlabelled": 1}
    assert counts == {"images of train": 1, "instances": 1} | left_out


def test_a_skeleton_file_defines_mirror_keypoints(tmp_path):
    joints = _content()["categories"][-1]["keypoints"]
    (tmp_path / "s.json").write_text(json.dumps({"joints": joints, "flip_pairs": [[0, 2]]}), encoding="utf-8")
    export_yolo(
        {"train": _written(tmp_path, _content())}, tmp_path / "images", tmp_path / "y", str(tmp_path / "s.json")
    )
    assert yaml.safe_load((tmp_path / "y" / "data.yaml").read_bytes())["flip_idx"] == [2, 1, 0]


def _without(content: dict[str, Any], *path: Any, **fields: Any) -> dict[str, Any]:
    """A copy of the content, with changed fields of the entry at `path`."""
    changed = entry = copy.deepcopy(content)
    for key in path:
        entry = entry[key]
    entry |= fields
    return changed


@pytest.mark.parametrize(
    ("path", "fields", "match"),
    [
        ([], {"annotations": None}, "has no list 'annotations'"),
        ([], {"categories": None}, "all.json is not an annotation file in COCO's form with categories"),
        (
            ["annotations", 0],
            {"category_id": 4},
            "annotation 1 has the category_id 4, and the file has no such",
        ),
        (["images", 0], {"width": 230}, "a.png is 231x117 pixels, and the annotations say 230x117"),
        (["images", 0], {"file_name": "../a.png"}, "the image ../a.png is outside the images' folder"),
        (["images", 0], {"file_name": "/a.png"}, "the image /a.png is outside the images' folder"),
        (["images", 0], {"file_name": "b.png"}, "b.jpg and another image would share a label file"),
        (["images", 0], {"file_name": "gone.png"}, "gone.png can.t be read"),
    ],
)
def test_malformed_annotations_are_refused(tmp_path, path, fields, match):
    file = _written(tmp_path, _content())
    write_image(tmp_path / "images" / "b.png", 231, 117)
    file.write_text(json.dumps(_without(_content(), *path, **fields)), encoding="utf-8")
    with pytest.raises(UserError, match=match):
        export_yolo({"train": file}, tmp_path / "images", tmp_path / "yolo")
    assert not (tmp_path / "yolo").exists()


def test_different_categories_and_existing_folders_are_refused(tmp_path):
    train = _written(tmp_path, _content())
    val = _written(tmp_path, _without(_content(), "categories", 0, name="duck"), "val.json")
    with pytest.raises(UserError, match="all.json and .*val.json have different categories"):
        export_yolo({"train": train, "val": val}, tmp_path / "images", tmp_path / "yolo")
    with pytest.raises(UserError, match="images already exists; move it away, or give another folder by --output"):
        export_yolo({"train": train}, tmp_path / "images", tmp_path / "images")


def test_stored_images_with_exif_rotation_are_refused(tmp_path):
    """The labelled size is that of the stored pixels. Upright, the image is 117x231."""
    path = _written(tmp_path, _content())
    write_image(tmp_path / "images" / "b.jpg", 231, 117, orientation=6)
    with pytest.raises(
        UserError, match="b.jpg: its labels refer to the stored pixels, .*; remove the image's EXIF data"
    ):
        export_yolo({"train": path}, tmp_path / "images", tmp_path / "yolo")
    assert not (tmp_path / "yolo").exists()


def test_categories_without_keypoints_are_left_out(tmp_path):
    content = _content()
    content["categories"].insert(0, {"id": 0, "name": "birds"})
    export_yolo({"train": _written(tmp_path, content)}, tmp_path / "images", tmp_path / "yolo")
    assert yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())["names"] == {0: "cock", 1: "hen"}
