"""Tests of OKS, NMS and rescoring against independent calculations."""

import numpy as np
import pytest
from pycocotools.coco import COCO as CocoFile
from pycocotools.cocoeval import COCOeval

from mamkpd_jax.evaluation.oks import joint_similarity, oks_nms, rescore
from mamkpd_jax.skeletons import COCO


def _poses(rng, n: int, spread: float = 60.0) -> np.ndarray:
    return rng.uniform(0, 400, (n, 1, 2)) + rng.uniform(-spread, spread, (n, 17, 2))


def test_oks_agrees_with_pycocotools_on_random_poses():
    """There are 4 images with 25 labelled and 20 predicted poses each: 2,000 pairs."""
    rng = np.random.default_rng(0)
    truth, found = [], []
    for image in range(4):
        poses = _poses(rng, 25)
        visible = (rng.random((25, 17)) < 0.7).astype(int) * 2
        visible[:, 0] = 2
        for pose, v in zip(poses, visible, strict=True):
            keypoints = np.column_stack([pose, v]).ravel().tolist()
            box = [*pose.min(axis=0), *np.ptp(pose, axis=0)]
            entry = {"image_id": image, "category_id": 1, "bbox": box, "iscrowd": 0, "keypoints": keypoints}
            truth.append(entry | {"id": len(truth) + 1, "area": rng.uniform(500, 40000), "num_keypoints": int(v.sum())})
        for pose in poses[:20] + rng.normal(0, 5, (20, 17, 2)):
            keypoints = np.column_stack([pose, np.ones(17)]).ravel().tolist()
            found.append({"image_id": image, "category_id": 1, "keypoints": keypoints, "score": rng.random()})
    data = CocoFile()
    data.dataset = {
        "images": [{"id": i} for i in range(4)],
        "annotations": truth,
        "categories": [{"id": 1, "name": "person"}],
        "info": {},
    }
    data.createIndex()
    evaluation = COCOeval(data, data.loadRes(found), "keypoints")
    evaluation.evaluate()
    for image in range(4):
        expected = np.asarray(evaluation.ious[image, 1])  # best scores first
        ordered = sorted((f for f in found if f["image_id"] == image), key=lambda f: -f["score"])
        points = np.array([f["keypoints"] for f in ordered]).reshape(-1, 17, 3)[..., :2]
        for column, entry in enumerate(a for a in truth if a["image_id"] == image):
            reference = np.array(entry["keypoints"]).reshape(17, 3)
            similarity = joint_similarity(points, reference[:, :2], entry["area"], COCO.sigmas)
            np.testing.assert_allclose(
                similarity[:, reference[:, 2] > 0].mean(axis=1), expected[:, column], rtol=1e-9, atol=1e-12
            )


def _loop_nms(points, scores, areas, threshold):
    """HRNet's NMS in float64, one pair at a time."""
    left, kept = sorted(range(len(scores)), key=lambda i: -scores[i]), []
    while left:
        best = left.pop(0)
        kept.append(best)
        stays = []
        for i in left:
            terms = [
                np.exp(
                    -(((points[i, j] - points[best, j]) ** 2).sum())
                    / ((2 * sigma) ** 2 * (areas[i] + areas[best]) / 2 * 2)
                )
                for j, sigma in enumerate(COCO.sigmas)
            ]
            if sum(terms) / len(terms) <= threshold:
                stays.append(i)
        left = stays
    return kept


@pytest.mark.parametrize("threshold", [0.3, 0.9])
def test_nms_equals_a_loop_on_random_poses(threshold):
    rng = np.random.default_rng(1)
    dropped = 0
    for _ in range(25):
        bases = _poses(rng, 4)
        points = bases[rng.integers(0, 4, 20)] + rng.normal(0, rng.choice([0.5, 3, 10], (20, 1, 1)), (20, 17, 2))
        scores, areas = rng.random(20), rng.uniform(1000, 30000, 20)
        kept = oks_nms(points, scores, areas, COCO.sigmas, threshold)
        assert kept.tolist() == _loop_nms(points, scores, areas, threshold)
        dropped += 20 - len(kept)
    assert dropped > 50


def _loop_soft_nms(points, scores, areas, threshold):
    """HRNet's soft NMS in float64, one pair at a time: at most 20 poses, ordered by their lowered scores."""
    left, kept = {i: score for i, score in enumerate(scores)}, []
    while left and len(kept) < 20:
        best = max(left, key=left.__getitem__)
        kept.append(best)
        del left[best]
        for i in left:
            squared = ((points[i] - points[best]) ** 2).sum(axis=1)
            area = (areas[i] + areas[best]) / 2
            oks = np.exp(-squared / ((2 * np.array(COCO.sigmas)) ** 2 * area * 2)).mean()
            left[i] *= np.exp(-(oks**2) / threshold)
    return kept


def test_soft_nms_equals_a_loop_on_random_poses():
    rng = np.random.default_rng(2)
    for _ in range(15):
        bases = _poses(rng, 6)
        points = bases[rng.integers(0, 6, 30)] + rng.normal(0, rng.choice([0.5, 3, 10], (30, 1, 1)), (30, 17, 2))
        scores, areas = rng.random(30), rng.uniform(1000, 30000, 30)
        kept = oks_nms(points, scores, areas, COCO.sigmas, 0.9, soft=True)
        assert kept.tolist() == _loop_soft_nms(points, scores, areas, 0.9)
        assert len(kept) == 20


def test_nms_equals_the_published_example():
    points = np.stack([np.full((17, 2), at) for at in (10.0, 10.0, 100.0)])
    kept = oks_nms(points, np.array([0.9, 0.4, 0.7]), np.full(3, 100.0), COCO.sigmas, 0.9)
    assert sorted(kept.tolist()) == [0, 2]


def test_nms_of_no_poses_is_empty():
    assert oks_nms(np.zeros((0, 17, 2)), np.zeros(0), np.zeros(0), COCO.sigmas, 0.9).size == 0


@pytest.mark.parametrize(("joint_score", "score"), [(0.19, 0.0), (0.2, 0.0), (0.21, 0.189), (1.0, 0.9)])
def test_only_joints_above_the_threshold_count(joint_score, score):
    assert rescore(np.array([0.9]), np.full((1, 17), joint_score)) == pytest.approx(score)


def test_pose_scores_equal_a_loop():
    """The loop has the rule of SimpleBaseline and HRNet. Joint scores are below and above the threshold."""
    rng = np.random.default_rng(3)
    boxes, joints = rng.random(500), rng.random((500, 17)) * rng.uniform(0.15, 1, (500, 1))
    expected = []
    for box, row in zip(boxes.tolist(), joints.tolist(), strict=True):
        total, count = 0.0, 0
        for joint in row:
            if joint > 0.2:
                total, count = total + joint, count + 1
        expected.append(box * (total / count if count else 0))
    scores = rescore(boxes, joints)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    assert scores.dtype == np.float64 and 10 < (scores == 0).sum() < 250


def test_rescoring_in_float64_keeps_ties():
    """The two poses have the same three scores in another order. Their float32 sums would differ in the last bit."""
    joint_scores = np.array([[0.3, 0.7, 0.9], [0.9, 0.3, 0.7]], np.float32)
    first, second = rescore(np.ones(2, np.float32), joint_scores)
    assert first == pytest.approx(second, abs=1e-15)
