"""Tests of reading annotation files: fields are derived, ignored, noted or refused, and counted."""

import copy
import json
from pathlib import Path

import pytest

from mamkpd_jax.data.labels import Labels, read_labels, usable_labels
from mamkpd_jax.errors import UserError

FILE = Path("labels.json")
KEYPOINTS = [80, 30, 2, 60, 60, 2, 100, 60, 1, 0, 0, 0]
GOOD = {
    "images": [{"id": i, "file_name": f"{i}.jpg", "width": 160, "height": 120} for i in (1, 2)],
    "annotations": [
        {
            **{"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "num_keypoints": 3, "area": 5600.0},
            **{"bbox": [40, 10, 80, 100], "keypoints": KEYPOINTS},
        }
        for i in (1, 2)
    ],
    "categories": [{"id": 1, "name": "robot", "keypoints": ["nose", "left_hand", "right_hand", "foot"]}],
}


def _read(change) -> Labels:
    content = copy.deepcopy(GOOD)
    change(content)
    return usable_labels(FILE, content)


def _first(**fields):
    return lambda content: content["annotations"][0].update(fields)


def _without(*fields):
    return lambda content: [annotation.pop(field) for annotation in content["annotations"] for field in fields]


def _messages(labels: Labels) -> list[str]:
    return [str(finding) for outcome in ("derived", "ignored", "noted") for finding in labels.findings.of(outcome)]


def test_good_annotations_are_unchanged():
    labels = _read(lambda content: None)
    assert labels.annotations == GOOD["annotations"] and labels.images == GOOD["images"]
    assert _messages(labels) == [] and labels.left_out == 0


DERIVED = {
    "num_keypoints": (_without("num_keypoints"), "num_keypoints", 3, "2 x num_keypoints missing: counted"),
    "wrong num_keypoints": (_first(num_keypoints=4), "num_keypoints", 3, "1 x num_keypoints other than the labelled"),
    "iscrowd": (_without("iscrowd"), "iscrowd", 0, "2 x iscrowd missing: taken as 0"),
    "iscrowd false": (_first(iscrowd=False), "iscrowd", 0, None),
    "area": (_without("area"), "area", 0.53 * 8000, "2 x area missing: 0.53 of the box"),
    "area 0": (_first(area=0), "area", 0.53 * 8000, "1 x area not above 0: 0.53 of the box"),
    "empty box": (_first(bbox=[0, 0, 0, 0]), "bbox", [53.6, 23.6, 52.8, 42.8], "1 x bbox missing: around the label"),
    "bbox": (_without("bbox"), "bbox", [53.6, 23.6, 52.8, 42.8], "2 x bbox missing: around the labelled keypoints"),
    "float ids": (_first(id=1.0, image_id=1.0), "image_id", 1, "1 x image_id is not an integer: converted"),
    "text ids": (_first(image_id="1"), "image_id", 1, "1 x image_id is not an integer: converted"),
    "no ids": (_without("id"), "id", 1, "2 x id missing in all annotations: numbered"),
    "no place": (
        _first(keypoints=KEYPOINTS[:9] + [None, float("nan"), 0]),
        "keypoints",
        KEYPOINTS,
        "1 x unlabelled keypoint without coordinates",
    ),
}


@pytest.mark.parametrize("case", DERIVED)
def test_missing_fields_are_derived_and_counted(case):
    change, field, value, message = DERIVED[case]
    labels = _read(change)
    labels.findings.check()
    found = labels.annotations[0][field]
    assert found == pytest.approx(value) and type(found) is type(value)
    assert len(labels.annotations) == 2
    messages = _messages(labels)
    assert [line for line in messages if message and line.startswith(message)] or (message is None and not messages)


def test_image_sizes_may_be_missing():
    labels = _read(lambda content: [image.pop("height") for image in content["images"]])
    labels.findings.check()
    assert [image["height"] for image in labels.images] == [None, None] == [image["width"] for image in labels.images]
    assert _messages(labels) == ["2 x height or width missing: that of the image file (image 1, image 2)"]


def test_backslashes_in_file_names_are_slashes():
    labels = _read(lambda content: content["images"][0].update(file_name="a\\1.jpg"))
    assert labels.images[0]["file_name"] == "a/1.jpg"


@pytest.mark.parametrize("keypoints", [[], None])
def test_boxes_without_keypoints_are_no_instances(keypoints):
    labels = _read(_first(keypoints=keypoints))
    assert labels.annotations[0]["keypoints"] == [0] * 12 and labels.annotations[0]["num_keypoints"] == 0
    assert "1 x annotation without keypoints: not trained on (annotation 1)" in _messages(labels)


def test_annotations_of_categories_without_keypoints_are_left_out():
    def change(content):
        content["categories"].insert(0, {"id": 0, "name": "robots", "keypoints": []})
        content["annotations"][0]["category_id"] = 0

    labels = _read(change)
    assert labels.skeleton.name == "robot" and labels.left_out == 1
    assert [annotation["id"] for annotation in labels.annotations] == [2]
    assert "1 x annotation of robots, which has no keypoints (annotation 1)" in _messages(labels)
    assert "1 x category without keypoints (robots)" in _messages(labels)


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"keypoints": [170, *KEYPOINTS[1:]]}, "labelled keypoint outside its image"),
        ({"bbox": [60, 10, 118, 99]}, "box that reaches outside its image"),
        ({"bbox": [0.2, 0.1, 0.5, 0.8]}, "box of at most 1 pixel: its sides may be fractions of the image's"),
    ],
)
def test_unusual_boxes_and_keypoints_are_noted(fields, note):
    assert _messages(_read(_first(**fields))) == [f"1 x {note} (annotation 1)"]


def test_derived_boxes_do_not_need_image_sizes():
    """The derived box extends beyond the image. Only a data set clips it."""
    fields = {"bbox": None, "area": None, "keypoints": [1, 1, 2, 150, 110, 2, *KEYPOINTS[6:]]}
    boxes = [_read(_first(**fields)).annotations[0]]
    boxes.append(_read(lambda content: (_first(**fields)(content), content["images"][0].pop("width"))).annotations[0])
    assert boxes[0] == boxes[1] and boxes[0]["bbox"][0] < 0


REFUSED = {
    "bbox": (_first(bbox=[1, 2]), "annotation 1 has [1, 2] as bbox: expected 4 finite numbers"),
    "NaN box": (_first(bbox=[1, 2, 3, float("nan")]), "annotation 1 has [1, 2, 3, nan] as bbox"),
    "iscrowd": (_first(iscrowd="no"), "annotation 1 has 'no' as iscrowd: expected 0 or 1"),
    "area": (_first(area="big"), "annotation 1 has 'big' as area: expected a finite number"),
    "visibility": (_first(keypoints=[*KEYPOINTS[:11], 3]), "annotation 1 has 3 as visibility: expected 0 (unl"),
    "length": (_first(keypoints=[1, 2, 2]), "annotation 1 has 3 values as keypoints: expected 12 finite numbers, x"),
    "place": (_first(keypoints=["80", *KEYPOINTS[1:]]), "annotation 1 has ['80', 30, 2, 60, 60, 2, ...] as keypoints"),
    "id": (_first(id="one"), "annotation no. 0 has 'one' as id: expected a whole number"),
    "bool id": (_first(image_id=True), "annotation 1 has True as image_id: expected a whole number"),
    "image": (_first(image_id=9), "annotation 1 has 9 as image_id: expected that of an image"),
    "category": (_without("category_id"), "annotation 1 has nothing as category_id: expected a whole number (the"),
    "file": (lambda content: content["images"][0].pop("file_name"), "image 1 has nothing as file_name: expected"),
    "half a letter": (
        lambda content: content["images"][0].update(file_name="\udcff.jpg"),
        r"image 1 has '\udcff.jpg' as file_name: expected a path in the image folder",
    ),
    "width": (lambda content: content["images"][0].update(width=-3), "image 1 has -3 as width: expected a number"),
    "entry": (lambda content: content["annotations"].append(3), "annotation no. 2 has 3 as entry: expected a table"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_names_field_value_and_expectation(case):
    change, line = REFUSED[case]
    with pytest.raises(UserError) as caught:
        _read(change).findings.check()
    assert str(caught.value).startswith(f"labels.json: {line}")


def test_a_refusal_counts_the_other_problems(tmp_path):
    content = copy.deepcopy(GOOD)
    for annotation in content["annotations"]:
        annotation["bbox"] = 3
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        UserError, match=r"\(the first of 2 problems; mamkpd check-data --annotations=.* --images=DIR lists all\)"
    ):
        read_labels(path)


@pytest.mark.parametrize(
    ("categories", "line"),
    [
        ([], "labels.json: no category of the annotations has a list 'keypoints' of names"),
        ([{"id": 1, "name": "box"}], "labels.json: no category of the annotations has a list"),
        ([{"id": 1, "keypoints": "nose"}], "labels.json: the 'keypoints' of a category are 'nose'; expected a list"),
    ],
)
def test_files_without_keypoint_names_are_refused(categories, line):
    with pytest.raises(UserError, match=line):
        _read(lambda content: content.update(categories=categories))
