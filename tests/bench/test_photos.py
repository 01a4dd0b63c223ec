"""The benchmark on photos: which poses count as found and as correct."""

import json
import shutil

import numpy as np
import pytest

from mamkpd_jax.bench.programs.photos import _poses_of, rows
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.inference.results import PoseResult
from mamkpd_jax.skeletons import LSPET


def test_person_gets_pose_of_best_box():
    keypoints = np.arange(3 * 14 * 2, dtype=np.float64).reshape(3, 14, 2)
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [50, 50, 10, 10]], np.float64)
    poses = PoseResult(
        keypoints=keypoints,
        scores=np.full((3, 14), 0.5),
        boxes=boxes,
        box_scores=np.ones(3),
        areas_px=np.ones(3),
        image_hw=(100, 100),
        skeleton=LSPET,
        image="a.jpg",
        upright=True,
    )
    people = [{"id": 5, "bbox": [1, 0, 10, 9]}, {"id": 6, "bbox": [54, 54, 10, 10]}]
    (pose,) = _poses_of(people, poses, ["left_wrist", "right_ankle"])
    assert pose["annotation_id"] == 5, "the other person has no box of IoU 0.5"
    assert pose["keypoints"] == [*keypoints[1, 11], 0.5, *keypoints[1, 0], 0.5]


@pytest.mark.slow
def test_labelled_boxes_are_all_found(shared_data, tmp_path):
    content = json.loads((shared_data / "coco_mini" / "test_coco.json").read_bytes())
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "val2017").mkdir()
    for image in content["images"]:
        shutil.copy(shared_data / "coco_mini" / image["file_name"], tmp_path / "val2017")
    labelled, detected, followed = rows(Predictor.from_pretrained("people"), tmp_path)
    assert (labelled["people"], labelled["recall"]) == (12, 1.0) and 0.5 <= detected["recall"] <= 1
    assert 0.4 <= followed["recall"] <= detected["recall"]
    for row in (labelled, detected, followed):
        names = {name.partition("/")[2] for name in row if "/" in name} - {"mean", "left_out"}
        assert len(names) == 12 and "neck" not in names and 0 <= row["pck_torso@0.2/mean"] <= 100
