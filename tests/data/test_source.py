"""Tests of the boxes of a built data set: those of its instances, and detections."""

import json
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.ap10k import Ap10k
from mamkpd_jax.data.datasets.coco_keypoints import CocoKeypoints
from mamkpd_jax.data.source import InstanceSource, read_detections
from mamkpd_jax.errors import UserError
from tests.data.places import data_at


@pytest.fixture
def val(coco_root, tmp_path) -> InstanceSource:
    return InstanceSource(prepare(CocoKeypoints(data_at(coco_root, tmp_path / "build"))), "val")


def _write(path, boxes):
    path.write_text(json.dumps(boxes), encoding="utf-8")
    return path


def test_real_detections_are_read_unchanged(val, shared_data, tmp_path, caplog):
    caplog.set_level("INFO")
    ids = {image["id"] for image in val.ground_truth["images"]}
    boxes = json.loads((shared_data / "coco_mini" / "test_coco_det_AP_H_56.json").read_bytes())
    ours = [box for box in boxes if box["image_id"] in ids]
    other = {**ours[0], "category_id": 18}
    boxes = read_detections(val, _write(tmp_path / "boxes.json", [*ours, other]))
    assert len(boxes) == len(ours) > 0, "only persons are read"
    assert f"1 of {len(ours) + 1} boxes left out: their category is not in the split" in caplog.text
    np.testing.assert_array_equal([box.xywh for box in boxes], [box["bbox"] for box in ours])
    assert [box.image_id for box in boxes] == [box["image_id"] for box in ours]
    assert [box.score for box in boxes] == [box["score"] for box in ours]
    assert all(val.image(box.record)["image_id"] == box.image_id for box in boxes)


def test_boxes_match_the_instances(val):
    boxes, items = val.boxes(), [val[i] for i in range(len(val))]
    np.testing.assert_array_equal([box.xywh for box in boxes], [item["bbox"] for item in items])
    for name in ("image_id", "category_id", "annotation_id"):
        assert [getattr(box, name) for box in boxes] == [item[name] for item in items]
    assert [box.score for box in boxes] == [1.0] * len(items)


def test_ground_truth_and_detections_read_no_record(coco_root, tmp_path):
    builder = prepare(CocoKeypoints(data_at(coco_root, tmp_path / "build")))
    for records in Path(builder.data_path).glob("*.array_record-*"):
        records.write_bytes(b"")
    val = InstanceSource(builder, "val")
    box = {"image_id": val.ground_truth["images"][1]["id"], "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}
    assert [box.record for box in read_detections(val, _write(tmp_path / "boxes.json", [box]))] == [1]


def test_detections_of_other_images_are_refused(val, tmp_path):
    box = {"image_id": 5, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}
    with pytest.raises(UserError, match="1 of 1 boxes are of images that the data set lacks, the first of image 5"):
        read_detections(val, _write(tmp_path / "boxes.json", [box]))


_UNUSABLE = (
    *([5, 5, 0, 9], [5, 5, 9, -1], [5, 5, float("nan"), 9], [0, 0, float("inf"), 9], [0, 0, 1e30, 9]),
    *([-30, 5, 9, 9], [5, 9999, 9, 9]),
)


def test_unusable_detections_are_dropped_and_counted(val, tmp_path, caplog):
    image_id = val.ground_truth["images"][1]["id"]
    box = {"image_id": image_id, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}
    wrong = [box | {"bbox": xywh} for xywh in _UNUSABLE] + [box | {"score": float("nan")}]
    boxes = read_detections(val, _write(tmp_path / "boxes.json", [*wrong, box, *wrong]))
    assert [box.xywh.tolist() for box in boxes] == [[0, 0, 9, 9]]
    (line,) = (record.getMessage() for record in caplog.records if "left out" in record.getMessage())
    expected = f"16 of 17 boxes left out, the first: of image {image_id} the box (5, 5, 0, 9) has no width or height"
    assert line.endswith(expected)


def test_ids_of_detections_may_be_strings_or_floats(val, tmp_path):
    image_id = val.ground_truth["images"][1]["id"]
    box = {"category_id": "1", "bbox": [0, 0, 9, 9], "score": 0.5}
    boxes = [box | {"image_id": kind(image_id)} for kind in (str, float, int)]
    found = read_detections(val, _write(tmp_path / "boxes.json", boxes))
    assert [(b.image_id, b.category_id) for b in found] == [(image_id, 1)] * 3


def test_detections_of_every_species_are_read(ap10k_root, tmp_path):
    val = InstanceSource(prepare(Ap10k(data_at(ap10k_root, tmp_path))), "val")
    box = {"image_id": val[0]["image_id"], "bbox": [0, 0, 9, 9], "score": 0.5}
    boxes = read_detections(val, _write(tmp_path / "boxes.json", [box | {"category_id": n} for n in (26, 1, 3)]))
    assert [box.category_id for box in boxes] == [26, 1]
    with pytest.raises(UserError, match="has no box of category 1, 26; give a detections file"):
        read_detections(val, _write(tmp_path / "boxes.json", [box | {"category_id": 3}]))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("[{", "is not complete JSON"),
        ("{}", "entry 0 is not a detection"),
        ('[{"image_id": 1, "category_id": 1, "score": 1}]', "entry 0 is not a detection"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, "9", 9], "score": 1}]', "entry 0 is not a detection"),
        ('[{"image_id": 1.5, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 1}]', "entry 0 is not a detection"),
    ],
)
def test_malformed_detection_files_are_refused(content, line, val, tmp_path):
    (tmp_path / "boxes.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=rf"boxes.json.*{line}"):
        read_detections(val, tmp_path / "boxes.json")


def test_a_missing_detections_file_is_named(val, tmp_path):
    with pytest.raises(UserError, match=r"nowhere.json can't be read \(No such file"):
        read_detections(val, tmp_path / "nowhere.json")
