"""Tests of COCO's metrics, on real annotations."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO as CocoFile
from pycocotools.cocoeval import COCOeval

from mamkpd_jax.data.annotation_files import NO_ANNOTATION, SplitBox
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.coco_results import coco_results, with_suppressed
from mamkpd_jax.evaluation.metrics.coco import METRICS, evaluate_coco
from mamkpd_jax.skeletons import COCO

VAL = "coco/annotations/person_keypoints_val2017.json"


@pytest.fixture(scope="module")
def truth(shared_data) -> dict:
    return json.loads((shared_data / VAL).read_bytes())


def _perfect(truth: dict) -> list[dict]:
    fields = ("image_id", "category_id", "keypoints")
    return [{f: a[f] for f in fields} | {"score": 1.0} for a in truth["annotations"] if a["num_keypoints"]]


def _noisy(truth: dict, sigma_px: float) -> list[dict]:
    rng = np.random.default_rng(0)
    results = _perfect(truth)
    for result in results:
        keypoints = np.array(result["keypoints"], np.float64).reshape(-1, 3)
        keypoints[:, :2] += rng.normal(0, sigma_px, (17, 2))
        result |= {"keypoints": keypoints.ravel().tolist(), "score": float(rng.random())}
    return results


def test_perfect_predictions_score_one(truth):
    metrics = evaluate_coco(truth, _perfect(truth), COCO).values
    for name in METRICS:
        assert metrics[f"coco/{name}"] == pytest.approx(1.0, abs=1e-9), name
    for joint in COCO.joints:
        assert metrics[f"coco/oks/{joint}"] == pytest.approx(1.0, abs=1e-9), joint


def _pycocotools_values(path: Path, results: list[dict]) -> list[float]:
    data = CocoFile(str(path))
    evaluation = COCOeval(data, data.loadRes(copy.deepcopy(results)), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats.tolist()


def test_values_equal_pycocotools(truth, shared_data):
    results = _noisy(truth, 4.0)
    metrics = evaluate_coco(truth, results, COCO).values
    assert [metrics[f"coco/{name}"] for name in METRICS] == _pycocotools_values(shared_data / VAL, results)
    assert 0.2 < metrics["coco/AP"] < 0.9


def test_a_wrong_joint_lowers_only_its_value(truth):
    results = _perfect(truth)
    wrist = COCO.joints.index("left_wrist")
    for result in results:
        keypoints = np.array(result["keypoints"], np.float64).reshape(-1, 3)
        keypoints[wrist, :2] += 1000
        result["keypoints"] = keypoints.ravel().tolist()
    metrics = evaluate_coco(truth, results, COCO).values
    assert metrics["coco/oks/left_wrist"] < 1e-6
    assert metrics["coco/oks/right_wrist"] > 0.95  # not 1, because a pose of few joints may lose its match


def test_no_result_scores_zero(truth):
    metrics = evaluate_coco(truth, [], COCO).values
    assert metrics["coco/AP"] == metrics["coco/AR"] == metrics["coco/oks/nose"] == 0.0


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"keypoints": [float("nan")] * 51}, "result 3 has no 'keypoints' of 51 finite numbers.*look for NaN"),
        ({"keypoints": [1.0] * 12}, "result 3 has no 'keypoints' of 51 finite numbers, three for each of the 17"),
        ({"keypoints": ["1"] * 51}, "result 3 has no 'keypoints' of 51 finite numbers"),
        ({"score": float("inf")}, r"result 3 \(image \d+\) has the score inf"),
        ({"image_id": 5}, "result 3 is of image 5, which the annotations lack"),
    ],
)
def test_invalid_results_are_named(truth, change, line):
    results = _perfect(truth)
    results[3] |= change
    with pytest.raises(UserError, match=line):
        evaluate_coco(truth, results, COCO)


@pytest.mark.parametrize("how_many", [1, 511])
@pytest.mark.parametrize("extra", [{"bbox": None}, {"bbox": [0, 0, 9, 9]}, {"segmentation": []}, {"caption": "a"}])
def test_other_fields_of_some_results_change_nothing(truth, extra, how_many):
    """pycocotools takes the type of all results from the fields of the first."""
    results = _noisy(truth, 4.0)
    plain = evaluate_coco(truth, results, COCO).values
    changed = [result | extra for result in results[:how_many]] + results[how_many:]
    assert evaluate_coco(truth, changed, COCO).values == plain


def test_result_boxes_give_areas_as_in_pycocotools(truth, shared_data):
    """With boxes of one pixel, an unmatched pose counts in neither APM nor APL."""
    results = [result | {"bbox": [0, 0, 1, 1]} for result in _noisy(truth, 4.0)]
    metrics = evaluate_coco(truth, results, COCO).values
    assert [metrics[f"coco/{name}"] for name in METRICS] == _pycocotools_values(shared_data / VAL, results)
    assert metrics["coco/APM"] > evaluate_coco(truth, _noisy(truth, 4.0), COCO).values["coco/APM"]


def test_annotation_id_0_can_be_matched(truth):
    numbered = truth | {"annotations": [a | {"id": i} for i, a in enumerate(truth["annotations"])]}
    scores = evaluate_coco(numbered, _perfect(numbered), COCO)
    assert scores.values == evaluate_coco(truth, _perfect(truth), COCO).values
    assert scores.instances == {a["id"]: 1.0 for a in numbered["annotations"] if a["id"] in scores.instances}
    assert 0 in scores.instances


def _results(sigmas, *, of_annotations: bool) -> list[dict]:
    points = np.stack([np.full((17, 2), at) for at in (10.0, 10.0, 100.0, 10.0)])
    ids = range(4) if of_annotations else [NO_ANNOTATION] * 4
    rows = zip((0.9, 0.4, 0.7, 0.2), (1, 1, 1, 2), ids, strict=True)
    boxes = [SplitBox(0, np.zeros(4), score, image_id, 1, annotation_id) for score, image_id, annotation_id in rows]
    return coco_results(points, np.full((4, 17), 0.5), np.full(4, 100.0), boxes, sigmas)


@pytest.mark.parametrize("of_annotations", [False, True])
def test_equal_poses_are_suppressed_within_an_image(of_annotations):
    results = _results(COCO.sigmas, of_annotations=of_annotations)
    assert {(result["image_id"], result["score"]) for result in results} == {(1, 0.45), (1, 0.35), (2, 0.1)}
    poses = with_suppressed(results)
    assert sorted(p["annotation_id"] for p in poses) == [0, 1, 2, 3] if of_annotations else poses == results


def test_without_sigmas_all_poses_stay():
    results = _results(None, of_annotations=True)
    assert [result["annotation_id"] for result in results] == [0, 1, 2, 3]
    assert len(results[0]["keypoints"]) == 51


def test_poses_without_confident_joints_come_last(truth):
    """There are two good poses and two empty boxes. All boxes score 0.9, and the joints in the empty ones 0.19."""
    persons = [a for a in truth["annotations"] if a["num_keypoints"] > 15][:2]
    images = [image for image in truth["images"] if image["id"] in {person["image_id"] for person in persons}]
    of_persons = {"images": images, "annotations": persons}
    poses = [np.reshape(person["keypoints"], (17, 3))[:, :2].astype(float) for person in persons]
    points = np.stack([*poses, *(pose + 300 for pose in poses)])
    joint_scores = np.repeat([0.5, 0.6, 0.19, 0.19], 17).reshape(4, 17)
    boxes = [SplitBox(0, np.zeros(4), 0.9, person["image_id"], 1) for person in persons * 2]
    results = coco_results(points, joint_scores, np.full(4, 1e4), boxes, COCO.sigmas)
    assert sorted(result["score"] for result in results) == pytest.approx([0, 0, 0.45, 0.54])
    assert evaluate_coco(of_persons, results, COCO).values["coco/AP"] == pytest.approx(1.0)


def test_an_instance_scores_the_oks_of_its_match(truth):
    results = _perfect(truth)[1:]
    instances = evaluate_coco(truth, results, COCO).instances
    missed, *others = (instances[a["id"]] for a in truth["annotations"] if a["num_keypoints"])
    assert missed == 0.0 and others == pytest.approx([1.0] * 511)
