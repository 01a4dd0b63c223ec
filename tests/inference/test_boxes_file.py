"""Boxes from COCO's files: which pictures they belong to, and invalid files."""

import json
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes_file import BoxesFile
from mamkpd_jax.inference.matching import trailing_number
from mamkpd_jax.skeletons import AP10K, COCO


def _write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _annotations(*names: str, **fields: object) -> dict:
    """The content of an annotation file in which image i has the box (i, 0, 10, 20)."""
    images = [{"id": i, "file_name": name} for i, name in enumerate(names, start=1)]
    annotations = [{"image_id": i["id"], "category_id": 1, "bbox": [i["id"], 0, 10, 20], **fields} for i in images]
    return {"images": images, "annotations": annotations}


def _matched(tmp_path: Path, content: object, *pictures: str, **options: bool) -> dict[str, tuple[list[float], int]]:
    """The left edges of the boxes of pictures in the folder `in`, and their image_ids."""
    found = BoxesFile(_write(tmp_path / "boxes.json", content), 1, COCO, **options).match(tmp_path / "in", pictures)
    return {picture: (boxes.xywh[:, 0].tolist(), image_id) for picture, (boxes, image_id) in found.items()}


def test_detections_match_plain_numbers(shared_data):
    folder = shared_data / "coco_mini"
    boxes = BoxesFile(folder / "test_coco_det_AP_H_56.json", 1, COCO)
    expected = [d for d in json.loads((folder / "test_coco_det_AP_H_56.json").read_bytes()) if d["image_id"] == 785]
    names = "000000000785.jpg", "COCO_val2014_000000196141.jpg", "elsewhere/none.jpg"
    found, old, none = boxes.match(folder, names).values()
    np.testing.assert_array_equal(found.boxes.xywh, [d["bbox"] for d in expected])
    np.testing.assert_array_equal(found.boxes.scores, [d["score"] for d in expected])
    assert (found.image_id, old.image_id, none.image_id) == (785, 196141, None)
    assert len(old.boxes.scores) and not len(none.boxes.scores)


def test_trailing_numbers_match_on_request_only(tmp_path):
    content = [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    with pytest.raises(UserError, match="holiday-7.jpg is not a plain number .* set --match=number"):
        _matched(tmp_path, content, "holiday-7.jpg")
    assert _matched(tmp_path, content, "holiday-7.jpg", "8.jpg", by_number=True)["holiday-7.jpg"] == ([1], 7)
    assert _matched(tmp_path, content, "7.jpg", "holiday.jpg", "x8.jpg")["7.jpg"] == ([1], 7), "unambiguous"
    assert _matched(tmp_path, _annotations("a.jpg", "b.jpg"), "IMG_2.jpg", by_number=True) == {"IMG_2.jpg": ([2], 2)}
    assert [trailing_number(name) for name in ("COCO_val2014_000000000785.jpg", "a/12b.png", "0.jpg")] == [785, None, 0]


def test_names_take_precedence_over_numbers(tmp_path):
    content = _annotations("2.jpg", "1.jpg")
    assert _matched(tmp_path, content, "1.jpg", "2.jpg") == {"1.jpg": ([2], 2), "2.jpg": ([1], 1)}


@pytest.mark.parametrize(
    ("names", "pictures", "n"),
    [
        (("cam0/1.jpg", "cam1/1.jpg"), ("cam0/1.jpg", "cam1/1.jpg"), 2),
        (("in/cam0/1.jpg", "in/cam1/1.jpg"), ("cam0/1.jpg", "cam1/1.jpg"), 2),
        (("cam0/1.jpg", "cam1/1.jpg"), ("set/cam0/1.jpg", "set/cam1/1.jpg"), 2),
        (("in/1.jpg", "cam1/1.jpg"), ("1.jpg", "cam2/1.jpg"), 1),
        (("1.jpg", "b/1.jpg"), ("1.jpg", "b/1.jpg"), 2),
        (("1.jpg",), ("1.jpg", "b/1.jpg"), 1),
        (("cam0/1.jpg",), ("cam0/1.jpg", "cam1/1.jpg", "1.jpg"), 1),
        (("cam0/1.jpg", "cam0/2.jpg"), ("cam0/1.jpg", "cam1/2.jpg"), 1),
        (("train/1.jpg", "train/2.jpg"), ("images/1.jpg", "images/2.jpg"), 2),
        (("/data/all/1.jpg", "C:\\data\\2.jpg"), ("1.jpg", "2.jpg"), 2),
        (("./a/1.jpg", "u\u0308.jpg"), ("a/1.jpg", "\u00fc.jpg"), 2),
    ],
)
def test_longest_common_path_matches(names, pictures, n, tmp_path):
    """The first n images match the first n pictures; the other pictures have no boxes."""
    expected = {picture: ([i], i) if i <= n else ([], None) for i, picture in enumerate(pictures, start=1)}
    assert _matched(tmp_path, _annotations(*names), *pictures) == expected


@pytest.mark.parametrize(
    ("names", "pictures", "message"),
    [
        (("cam0/1.jpg", "cam1/1.jpg"), ("1.jpg",), "may be image cam0/1.jpg or cam1/1.jpg; set --input"),
        (("1.jpg",), ("a/1.jpg", "b/1.jpg"), "image 1.jpg may be a/1.jpg or b/1.jpg; set --input"),
        (("cam0/1.jpg",), ("a/cam0/1.jpg", "b/cam0/1.jpg"), "image cam0/1.jpg may be a/cam0/1.jpg or b/cam0/1.jpg"),
        (("1.jpg", "1.jpg"), ("1.jpg",), "1.jpg may be image 1 or 2, which have the same file_name"),
        (("2.jpg",), ("1.jpg",), r"images \(the first is 2.jpg\) matches any of the 1 pictures"),
    ],
)
def test_unclear_matches_name_both_candidates(names, pictures, message, tmp_path):
    with pytest.raises(UserError, match=message):
        _matched(tmp_path, _annotations(*names), *pictures)


def test_two_pictures_with_one_number_are_refused(shared_data):
    boxes = BoxesFile(shared_data / "coco_mini" / "test_coco_det_AP_H_56.json", 1, COCO)
    with pytest.raises(UserError, match="image 785 may be a/785.jpg or b/785.png"):
        boxes.match(Path("in"), ("a/785.jpg", "b/785.png"))
    with pytest.raises(UserError, match="matches any of the 1 pictures .*7.jpg\\) by the number"):
        boxes.match(Path("in"), ("7.jpg",))


def test_detections_may_name_their_pictures(tmp_path):
    named = [{"file_name": "a b.png", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    assert _matched(tmp_path, named, "x/a b.png") == {"x/a b.png": ([1], None)}
    assert _matched(tmp_path, [{**named[0], "image_id": 9}], "x/a b.png") == {"x/a b.png": ([1], 9)}
    with pytest.raises(UserError, match="an entry has no file_name .* give it to all of them, or set --match=number"):
        _matched(tmp_path, [*named, {"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "a b.png")


@pytest.mark.parametrize("crowd", [1, True, 1.0])
def test_crowd_regions_are_left_out(crowd, tmp_path):
    content = _annotations("1.jpg", "2.jpg", iscrowd=None)
    content["annotations"][0]["iscrowd"] = crowd
    assert _matched(tmp_path, content, "1.jpg", "2.jpg") == {"1.jpg": ([], 1), "2.jpg": ([2], 2)}
    content["annotations"][0]["iscrowd"] = "yes"
    with pytest.raises(UserError, match="iscrowd 'yes'; expected 0 or 1"):
        _matched(tmp_path, content, "1.jpg")


@pytest.mark.parametrize(
    "content", [[], {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": []}, _annotations("1.jpg", iscrowd=1)]
)
def test_a_file_without_boxes_gives_none(content, tmp_path, caplog):
    assert _matched(tmp_path, content, "1.jpg")["1.jpg"][0] == []
    assert "has no boxes: no poses will be found" in caplog.text


def test_ids_may_be_text_or_floats(tmp_path):
    content = _annotations("1.jpg")
    content["images"][0]["id"], content["annotations"][0]["image_id"] = "12", 12.0
    content["annotations"][0]["category_id"] = "1"
    assert _matched(tmp_path, content, "1.jpg") == {"1.jpg": ([1], 12)}
    content["images"][0]["id"] = "first"
    with pytest.raises(UserError, match="an id is 'first'; expected a whole number"):
        _matched(tmp_path, content, "1.jpg")
    content["images"] = [{"id": 12, "file_name": "1.jpg"}, {"id": "12", "file_name": "2.jpg"}]
    with pytest.raises(UserError, match="two images have the id 12"):
        _matched(tmp_path, content, "1.jpg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"boxes": []}, "neither a list of detections nor an annotation file"),
        ({"images": [], "annotations": [{"image_id": 3}]}, "neither a list of detections nor an annotation file"),
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3], "score": 1}], "entry 0 is not a detection"),
        ([{"category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}], "entry 0 is not a detection"),
        (["box"], "entry 0 is not a detection"),
        (7, "entry 0 is not a detection"),
        ([{"image_id": 1, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 1}], "only of 18; set --category"),
    ],
)
def test_files_of_other_formats_are_refused(content, message, tmp_path):
    with pytest.raises(UserError, match=message):
        BoxesFile(_write(tmp_path / "boxes.json", content), 1, COCO)


def test_a_model_for_other_keypoints_is_refused(shared_data):
    folder = shared_data / "coco_mini"
    with pytest.raises(UserError, match="17 keypoints nose, .*; the model predicts the 17 of ap10k; give a model"):
        BoxesFile(folder / "test_coco.json", 1, AP10K)
    with pytest.raises(UserError, match="can't be read"):
        BoxesFile(folder / "none.json", 1, COCO)


def test_keypoints_may_have_another_order(tmp_path):
    categories = [{"id": 1, "keypoints": ["L Eye" if joint == "left_eye" else joint for joint in COCO.joints[::-1]]}]
    content = _annotations("a.jpg") | {"categories": categories}
    assert _matched(tmp_path, content, "a.jpg") == {"a.jpg": ([1], 1)}
