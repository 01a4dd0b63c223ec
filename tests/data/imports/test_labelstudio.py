"""Tests of the import of Label Studio's JSON export."""

import json
from pathlib import Path
from typing import Any

import pytest

from mamkpd_jax.data.imports._coco import write
from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import IMPORTS
from tests.data.imports.labelled import imported, keypoints, write_image


def region(kind: str, i: str, label: str, x: float, y: float, **more: Any) -> dict[str, Any]:
    """A region of an image of 200x100 pixels, in the form that Label Studio writes."""
    value = {"x": x, "y": y, "width": 0.5, f"{kind}labels": [label]} | more.pop("value", {})
    about = {"from_name": "kp", "to_name": "image", "type": f"{kind}labels", "id": i, "origin": "manual"}
    return about | {"original_width": 200, "original_height": 100, "image_rotation": 0, "value": value} | more


def rectangle(i: str, label: str, x: float, y: float, width: float, height: float, rotation: float = 0.0) -> dict:
    value = {"width": width, "height": height, "rotation": rotation}
    return region("rectangle", i, label, x, y, value=value)


def task(*results: dict[str, Any], image: str = "/data/upload/1/0123abcd-a.jpg", **fields: Any) -> dict[str, Any]:
    annotations = [{"id": 7, "was_cancelled": False, "result": list(results)}]
    return {"id": 1, "annotations": annotations, "data": {"text": "a bird", "image": image}, "project": 1} | fields


def export(folder: Path, *tasks: dict[str, Any]) -> Path:
    write_image(folder / "a.jpg")
    (folder / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    return folder / "export.json"


def _labels(folder: Path, *tasks: dict[str, Any]) -> dict[str, Any]:
    return imported("labelstudio", export(folder, *tasks), folder / "out")["labels.json"]


def test_percents_become_pixels_and_one_box_takes_all(tmp_path):
    points = region("keypoint", "1", "beak", 5, 20), region("keypoint", "2", "tail", 90, 90.5)
    written = _labels(tmp_path, task(*points, rectangle("3", "hen", 10, 20, 30, 40)))
    (hen,) = written["annotations"]
    assert keypoints(hen) == [[10, 20, 2], [180, 90.5, 2]]
    assert hen["bbox"] == pytest.approx([20, 20, 60, 40]) and hen["area"] == pytest.approx(0.53 * 2400)
    assert written["images"][0]["file_name"] == "a.jpg"
    category = {"id": 1, "name": "hen", "keypoints": ["beak", "tail"], "skeleton": []}
    assert written["categories"] == [category]


def test_without_boxes_an_image_has_one_instance(tmp_path):
    points = region("keypoint", "1", "beak", 50, 50), region("keypoint", "2", "tail", 60, 50)
    (bird,) = _labels(tmp_path, task(*points))["annotations"]
    margin = 4 + 0.06 * 20
    assert bird["bbox"] == pytest.approx([100 - margin, 50 - margin, 20 + 2 * margin, 2 * margin])


def test_parents_and_relations_link_keypoints_to_boxes(tmp_path):
    boxes = rectangle("x", "hen", 0, 0, 20, 20), rectangle("y", "cock", 50, 50, 20, 20)
    points = region("keypoint", "1", "beak", 55, 55, parentID="x"), region("keypoint", "2", "beak", 5, 5)
    relation = {"type": "relation", "from_id": "2", "to_id": "y", "direction": "right"}
    hen, cock = _labels(tmp_path, task(*points, *boxes, relation))["annotations"]
    assert keypoints(hen) == [[110, 55, 2]] and keypoints(cock) == [[10, 5, 2]]


def test_other_keypoints_belong_to_the_smallest_box(tmp_path):
    boxes = rectangle("x", "hen", 0, 0, 50, 50), rectangle("y", "chick", 10, 10, 10, 10)
    points = [region("keypoint", str(i), "beak", x, y) for i, (x, y) in enumerate([(15, 15), (30, 30), (90, 90)])]
    labels = IMPORTS["labelstudio"](export(tmp_path, task(*boxes, *points)), None)
    (picture,) = labels.splits["labels"]
    assert [(i.category, i.points["beak"]) for i in picture.instances] == [("hen", (60, 30, 2)), ("chick", (30, 15, 2))]
    assert labels.left_out == {"keypoints outside all rectangles of their image": 1}


def test_choices_of_keypoints_hide_them(tmp_path):
    choice = {"type": "choices", "id": "1", "value": {"choices": ["Occluded"]}}
    points = region("keypoint", "1", "beak", 50, 50), region("keypoint", "2", "tail", 60, 50)
    (bird,) = _labels(tmp_path, task(*points, choice))["annotations"]
    assert keypoints(bird) == [[100, 50, 1], [120, 50, 2]]


def test_a_rotated_rectangle_becomes_the_box_around_it(tmp_path):
    turned = rectangle("3", "hen", 50, 20, 20, 30, rotation=90.0)  # 40x30 pixels, from (100, 20) down and to the left
    (hen,) = _labels(tmp_path, task(region("keypoint", "1", "beak", 45, 30), turned))["annotations"]
    assert hen["bbox"] == pytest.approx([70, 20, 30, 40])


def test_cancelled_and_other_labels_are_left_out(tmp_path):
    done = task(region("keypoint", "1", "beak", 50, 50), region("polygon", "2", "hen", 1, 1))
    done["annotations"].insert(0, {"was_cancelled": True, "result": [{"type": "choices"}]})
    skipped = task(annotations=[{"was_cancelled": True, "result": []}])
    written = write(IMPORTS["labelstudio"](export(tmp_path, done, skipped), None), tmp_path / "out")
    assert written.left_out == {"regions of type polygonlabels": 1, "tasks without an annotation": 1}
    assert list(written.files.values()) == [(1, 1)]


@pytest.mark.parametrize(
    "url",
    [
        "/data/local-files/?d=birds/two/b%20c.jpg",
        "https://host/birds/two/b%20c.jpg?X-Amz-Date=1",
        "birds\\two\\b c.jpg",
        "/data/upload/3/two/89abcdef-b c.jpg",
    ],
)
def test_images_are_found_by_path_and_name(tmp_path, url):
    for folder in ("one", "two"):
        write_image(tmp_path / "images" / folder / "b c.jpg")
    file = export(tmp_path, task(region("keypoint", "1", "beak", 50, 50), image=url))
    labels = IMPORTS["labelstudio"](file, tmp_path / "images")
    assert labels.splits["labels"][0].path == tmp_path / "images" / "two" / "b c.jpg"


@pytest.mark.parametrize(
    ("spoilt", "match"),
    [
        (
            {"id": 1, "image": "a.jpg", "kp": []},
            "task 0 is not one of Label Studio's export .*no 'annotations'",
        ),
        (task(image="/data/upload/1/b.jpg"), "image /data/upload/1/b.jpg is not in .*; give the folder"),
        (task(image="same.jpg"), "has 2 images same.jpg; give a folder with one"),
        (task(image="a.txt"), "expected the path or URL of an image"),
        (
            task(region("keypoint", "1", "a", 1, 2, original_width=100)),
            "200x100 pixels, and the annotations say 100x100",
        ),
        (
            task(region("keypoint", "1", "a", 1, 2, image_rotation=90)),
            "an image_rotation other than 0: turn a.jpg back",
        ),
        (task(region("keypoint", "1", "a", "1", 2)), "2 finite numbers were expected"),
        (task(*[region("keypoint", "1", "a", 1, 2)] * 2), "a.jpg has two keypoints 'a' of one instance; draw a rect"),
        (task(), "have no keypoint"),
    ],
)
def test_malformed_exports_are_refused(tmp_path, spoilt, match):
    for folder in ("one", "two"):
        write_image(tmp_path / folder / "same.jpg")
    with pytest.raises(UserError, match=match):
        _labels(tmp_path, spoilt)
    assert not (tmp_path / "out").exists()
