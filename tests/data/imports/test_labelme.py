"""Tests of the import of LabelMe's labels: a JSON file beside each image."""

import json
from pathlib import Path
from typing import Any

import pytest

from mamkpd_jax.data.imports._coco import write
from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import IMPORTS
from tests.data.imports.labelled import imported, keypoints, write_image


def shape(kind: str, label: str, *points: list[float], group: int | None = None, **fields: Any) -> dict[str, Any]:
    """A shape in the form that LabelMe 5 writes."""
    about = {"label": label, "points": list(points), "group_id": group, "description": "", "shape_type": kind}
    return about | {"flags": {}, "mask": None} | fields


def label(folder: Path, name: str, *shapes: dict[str, Any], **fields: Any) -> Path:
    """Writes an image and its label file, and returns that file's path."""
    write_image(folder / name)
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None}
    file = (folder / name).with_suffix(".json")
    content |= {"imageHeight": 100, "imageWidth": 200}
    file.write_text(json.dumps(content | fields), encoding="utf-8")
    return file


def test_groups_become_instances(tmp_path):
    label(
        *(tmp_path, "a.jpg", shape("point", "tail", [30.5, 40.25], group=2)),
        *(shape("point", "beak", [150, 50], group=1), shape("point", "tail", [160, 60], group=1)),
        *(shape("rectangle", "hen", [60, 70], [10, 20], group=2), shape("point", "stray", [1, 1])),
    )
    label(tmp_path, "b.jpg")
    written = imported("labelme", tmp_path, tmp_path / "out")["labels.json"]
    assert [c["name"] for c in written["categories"]] == ["hen", "object"]
    assert written["categories"][1]["keypoints"] == ["tail", "beak"]
    assert [image["file_name"] for image in written["images"]] == ["a.jpg", "b.jpg"]
    hen, other = written["annotations"]
    assert keypoints(hen) == [[30.5, 40.25, 2], [0, 0, 0]] and hen["bbox"] == [10, 20, 50, 50]
    assert hen["area"] == pytest.approx(0.53 * 2500) and (hen["category_id"], other["category_id"]) == (1, 2)
    assert keypoints(other) == [[160, 60, 2], [150, 50, 2]]
    margin = 4 + 0.06 * 10
    assert other["bbox"] == pytest.approx([150 - margin, 50 - margin, 10 + 2 * margin, 10 + 2 * margin])


def test_an_image_without_groups_has_one_instance(tmp_path):
    points = [shape("point", name, [x, 2]) for name, x in (("beak", 1), ("tail", 199))]
    file = label(tmp_path, "a.jpg", *points)
    (bird,) = imported("labelme", file, tmp_path / "out")["labels.json"]["annotations"]
    assert keypoints(bird) == [[1, 2, 2], [199, 2, 2]]
    assert bird["bbox"] == pytest.approx([0, 0, 199, 2 + 4 + 0.06 * 198])  # clipped to the image


@pytest.mark.parametrize("fields", [{"flags": {"occluded": True}}, {"description": "Hidden "}])
def test_flags_and_descriptions_hide_points(tmp_path, fields):
    points = [shape("point", "a", [1, 2], **fields), shape("point", "b", [3, 4], flags={"occluded": False})]
    label(tmp_path, "a.jpg", *points)
    (bird,) = imported("labelme", tmp_path, tmp_path / "out")["labels.json"]["annotations"]
    assert keypoints(bird) == [[1, 2, 1], [3, 4, 2]]


def test_left_out_shapes_are_counted(tmp_path):
    shapes = [shape("point", "a", [1, 2], group=0), shape("polygon", "b", [1, 2], [3, 4], [5, 6], group=0)]
    shapes += [shape("point", "c", [1, 2]), shape("circle", "c", [1, 2], [3, 4], group=3)]
    label(tmp_path, "a.jpg", *shapes)
    left_out = write(IMPORTS["labelme"](tmp_path, None), tmp_path / "out").left_out
    types = {"shapes of type polygon": 1, "shapes of type circle": 1, "instances without keypoint and box": 1}
    assert left_out == types | {"shapes without a group in images with groups": 1}


def test_images_are_found_by_windows_paths_and_elsewhere(tmp_path):
    file = label(tmp_path / "images", "a.jpg", shape("point", "a", [1, 2]), imagePath="..\\images\\a.jpg")
    (tmp_path / "labels").mkdir()
    file.rename(tmp_path / "labels" / "a.json")
    written = write(IMPORTS["labelme"](tmp_path / "labels", None), tmp_path / "out")
    assert written.images == tmp_path / "images"
    (tmp_path / "images").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"images.a.jpg is not in .*labels; give the folder of the images by --images"):
        IMPORTS["labelme"](tmp_path / "labels", None)
    assert (
        write(IMPORTS["labelme"](tmp_path / "labels", tmp_path / "moved"), tmp_path / "2").images == tmp_path / "moved"
    )


@pytest.mark.parametrize(
    ("shapes", "fields", "match"),
    [
        ([shape("point", "a", [1, 2])] * 2, {}, "a.json has two points 'a' with group_id None; give each instance's"),
        ([shape("rectangle", "a", [1, 2], [3, 4], group=7)] * 2, {}, "two rectangles with group_id 7; give each"),
        ([shape("point", "a", [1, float("nan")])], {}, "nan. where 2 finite numbers were expected"),
        ([shape("point", "a")], {}, "a.json is not a file of LabelMe"),
        ([shape("point", "a", [1, 2])], {"imageWidth": 100}, "200x100 pixels, and the annotations say 100x100"),
        ([shape("point", "a", [1, 2])], {"imagePath": None}, "not a file of LabelMe.*; export it again or repair it"),
        ([shape("rectangle", "a", [1, 2], [3, 4])], {}, "the 1 labelled images have no keypoint"),
    ],
)
def test_malformed_files_are_refused(tmp_path, shapes, fields, match):
    label(tmp_path, "a.jpg", *shapes, **fields)
    with pytest.raises(UserError, match=match):
        imported("labelme", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_labels_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no JSON file; give the folder of LabelMe's files"):
        IMPORTS["labelme"](tmp_path, None)
