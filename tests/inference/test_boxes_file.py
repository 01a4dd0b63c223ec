"""Boxes from COCO's files: whose they are, and files that can't be right."""

import json
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes_file import BoxesFile, trailing_number
from mamkpd_jax.skeletons import AP10K, COCO


def _write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_detections_match_the_trailing_number_of_file_names(shared_data):
    folder = shared_data / "coco_mini"
    boxes = BoxesFile(folder / "test_coco_det_AP_H_56.json", 1, COCO)
    expected = [d for d in json.loads((folder / "test_coco_det_AP_H_56.json").read_bytes()) if d["image_id"] == 785]
    found = boxes.of(folder / "000000000785.jpg")
    np.testing.assert_array_equal(found.xywh, [d["bbox"] for d in expected])
    np.testing.assert_array_equal(found.scores, [d["score"] for d in expected])
    assert len(boxes.of(Path("elsewhere/none.jpg")).scores) == 0
    assert [trailing_number(Path(name)) for name in ("COCO_val2014_000000000785.jpg", "a/12b.png", "0.jpg")] == [
        785,
        None,
        0,
    ]


def test_annotations_and_file_names_name_the_pictures(shared_data, tmp_path):
    folder = shared_data / "coco_mini"
    content = json.loads((folder / "test_coco.json").read_bytes())
    content["images"][0]["file_name"] = "renamed.jpg"
    boxes = BoxesFile(_write(tmp_path / "truth.json", content), 1, COCO)
    image_id = content["images"][0]["id"]
    expected = [a["bbox"] for a in content["annotations"] if a["image_id"] == image_id]
    np.testing.assert_array_equal(boxes.of(Path("renamed.jpg")).xywh, expected)
    assert boxes.image_id(Path("renamed.jpg")) == image_id and boxes.image_id(Path("other.jpg")) is None
    named = [{"file_name": "a b.png", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    found = BoxesFile(_write(tmp_path / "named.json", named), 1, COCO).of(Path("x/a b.png"))
    np.testing.assert_array_equal(found.xywh, [[1, 2, 3, 4]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"boxes": []}, "neither a list of detections nor an annotation file"),
        ({"images": [], "annotations": [{"image_id": 3}]}, "neither a list of detections nor an annotation file"),
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3], "score": 1}], "entry 0 is no detection"),
        ([{"category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}], "entry 0 is no detection"),
        (["box"], "entry 0 is no detection"),
        (7, "entry 0 is no detection"),
        ([], "no box of category 1, but of none at all"),
        ([{"image_id": 1, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 1}], "but of 18; set --category"),
    ],
)
def test_a_file_of_another_form_is_told(content, message, tmp_path):
    with pytest.raises(UserError, match=message):
        BoxesFile(_write(tmp_path / "boxes.json", content), 1, COCO)


def test_a_checkpoint_for_another_data_set_is_told(shared_data):
    folder = shared_data / "coco_mini"
    with pytest.raises(UserError, match="17 joints nose, .*; the checkpoint finds the 17 of ap10k"):
        BoxesFile(folder / "test_coco.json", 1, AP10K)
    with pytest.raises(UserError, match="of none of the 1 pictures, the first 7.jpg"):
        BoxesFile(folder / "test_coco_det_AP_H_56.json", 1, COCO).check([Path("7.jpg")])
    with pytest.raises(UserError, match="can't tell b/785.png from a/785.jpg"):
        BoxesFile(folder / "test_coco_det_AP_H_56.json", 1, COCO).check([Path("a/785.jpg"), Path("b/785.png")])
    with pytest.raises(UserError, match="can't be read"):
        BoxesFile(folder / "none.json", 1, COCO)
