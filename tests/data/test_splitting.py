"""Tests of splitting an annotation file into training and validation."""

import json

import pytest

from mamkpd_jax.data.splitting import split_annotations
from mamkpd_jax.errors import UserError

FISH = {"id": 1, "name": "fish", "keypoints": ["head"]}


def _file(path, n_images, unlabelled=0):
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 4, "width": 4} for i in range(n_images + unlabelled)]
    fields = {"category_id": 1, "iscrowd": 0, "num_keypoints": 1, "area": 2.1, "bbox": [0.1, 0, 3, 3.3]}
    annotations = [fields | {"id": 7 * i, "image_id": i, "keypoints": [0.1 + 0.2, i, 2]} for i in range(n_images)]
    content = {"images": images, "annotations": annotations, "categories": [FISH]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path, content


def _read(*paths):
    return [json.loads(path.read_bytes()) for path in paths]


def test_a_fifth_of_images_is_for_validation(tmp_path):
    path, content = _file(tmp_path / "all.json", 60, unlabelled=5)
    train, val = _read(*split_annotations(path, tmp_path / "data"))
    assert (len(train["images"]), len(val["images"])) == (48, 12)
    for field in ("images", "annotations"):
        both = sorted(train[field] + val[field], key=lambda entry: entry["id"])
        assert both == content[field][:60], "values are unchanged, and images without annotations left out"
    for part in (train, val):
        assert {a["image_id"] for a in part["annotations"]} == {image["id"] for image in part["images"]}
        assert part["categories"] == content["categories"]


@pytest.mark.parametrize(("n", "n_val"), [(2, 1), (6, 2), (15, 5), (20, 5), (40, 8)])
def test_small_data_sets_fill_both_splits(n, n_val, tmp_path):
    path, _ = _file(tmp_path / "all.json", n)
    train, val = _read(*split_annotations(path, tmp_path))
    assert (len(train["images"]), len(val["images"])) == (n - n_val, n_val)


def test_the_split_does_not_depend_on_order(tmp_path):
    path, content = _file(tmp_path / "all.json", 30)
    _, before = _read(*split_annotations(path, tmp_path))
    path.write_text(json.dumps(content | {"images": content["images"][::-1]}), encoding="utf-8")
    _, after = _read(*split_annotations(path, tmp_path))
    assert after["images"] == before["images"][::-1]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ([], "has no list 'images'; expected a keypoint annotation file in COCO's form"),
        ({"images": [], "annotations": []}, "no category of the annotations has a list 'keypoints'"),
        ({"images": [], "annotations": [], "categories": [FISH]}, "has 0 images with labelled keypoints"),
    ],
)
def test_unusable_files_are_refused(content, line, tmp_path):
    path = tmp_path / "all.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=line):
        split_annotations(path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_derived_fields_are_written(tmp_path):
    path, content = _file(tmp_path / "all.json", 2)
    for annotation in content["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
        annotation["num_keypoints"] = None
    path.write_text(json.dumps(content), encoding="utf-8")
    train, val = _read(*split_annotations(path, tmp_path / "data"))
    assert [part["annotations"][0]["num_keypoints"] for part in (train, val)] == [1, 1]
    assert {part["annotations"][0]["image_id"] for part in (train, val)} == {0, 1}
