"""Items of a built data set: instances, and detected boxes."""

import json

import numpy as np
import pytest

from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.ap10k import Ap10k
from mamkpd_jax.data.datasets.coco_keypoints import CocoKeypoints
from mamkpd_jax.data.source import DetectionSource, InstanceSource
from mamkpd_jax.errors import UserError


@pytest.fixture
def val(coco_root, tmp_path) -> InstanceSource:
    return InstanceSource(prepare(CocoKeypoints(coco_root, tmp_path / "build")), "val")


def _write(path, boxes):
    path.write_text(json.dumps(boxes), encoding="utf-8")
    return path


def test_detections_of_a_real_file_are_taken_as_they_are(val, shared_data, tmp_path, caplog):
    caplog.set_level("INFO")
    ids = {image["id"] for image in val.ground_truth()["images"]}
    boxes = json.loads((shared_data / "coco_mini" / "test_coco_det_AP_H_56.json").read_bytes())
    ours = [box for box in boxes if box["image_id"] in ids]
    other = {**ours[0], "category_id": 18}
    source = DetectionSource(val, _write(tmp_path / "boxes.json", [*ours, other]))
    assert len(source) == len(ours) > 0, "only persons are read"
    assert f"1 of {len(ours) + 1} boxes left out, of categories that the split lacks" in caplog.text
    for i, box in enumerate(ours):
        item = source[i]
        np.testing.assert_array_equal(item["bbox"], box["bbox"])
        assert (item["image_id"], item["score"]) == (box["image_id"], box["score"])


def test_detections_of_other_images_are_refused(val, tmp_path):
    box = {"image_id": 5, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}
    with pytest.raises(UserError, match="1 of 1 boxes are of images that the data set lacks, the first of image 5"):
        DetectionSource(val, _write(tmp_path / "boxes.json", [box]))


def test_detections_of_every_species_are_read(ap10k_root, tmp_path):
    val = InstanceSource(prepare(Ap10k(ap10k_root, 1, tmp_path)), "val")
    box = {"image_id": val[0]["image_id"], "bbox": [0, 0, 9, 9], "score": 0.5}
    source = DetectionSource(val, _write(tmp_path / "boxes.json", [box | {"category_id": n} for n in (26, 1, 3)]))
    assert [source[i]["category_id"] for i in range(len(source))] == [26, 1]
    with pytest.raises(UserError, match="has no box of category 1, 26; give a detections file"):
        DetectionSource(val, _write(tmp_path / "boxes.json", [box | {"category_id": 3}]))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("[{", "is no complete JSON"),
        ("{}", "entry 0 is no detection"),
        ('[{"image_id": 1, "category_id": 1, "score": 1}]', "entry 0 is no detection"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 0, 9], "score": 1}]', "entry 0 is no detection"),
    ],
)
def test_files_that_are_no_detections_are_refused(content, line, val, tmp_path):
    (tmp_path / "boxes.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=rf"boxes.json.*{line}"):
        DetectionSource(val, tmp_path / "boxes.json")


def test_a_missing_detections_file_is_named(val, tmp_path):
    with pytest.raises(UserError, match=r"nowhere.json can't be read \(No such file"):
        DetectionSource(val, tmp_path / "nowhere.json")
