"""Track ids of people who walk past each other, disappear and return."""

import dataclasses

import numpy as np
import pytest

from mamkpd_jax.evaluation.oks import iou
from mamkpd_jax.inference.results import PoseResult
from mamkpd_jax.inference.tracking import Tracker
from mamkpd_jax.skeletons import COCO

_BODY = np.random.default_rng(0).uniform(0.1, 0.9, (17, 2)) * [40, 100]


def _frame(*lefts: float, scores: float = 0.9) -> PoseResult:
    """A frame with people of 40x100 pixels, whose left edges are at these columns."""
    corners = np.array([[left, 10.0] for left in lefts]).reshape(-1, 2)
    n = len(lefts)
    return PoseResult(
        keypoints=corners[:, None] + _BODY,
        scores=np.full((n, 17), scores),
        boxes=np.column_stack([corners, np.full(n, 40.0), np.full(n, 100.0)]),
        box_scores=np.ones(n),
        areas_px=np.full(n, 75 * 125.0),
        image_hw=(120, 640),
        skeleton=COCO,
        image=np.zeros((120, 640, 3), np.uint8),
        upright=True,
    )


def test_ids_do_not_depend_on_detection_order():
    tracker = Tracker()
    assert tracker.update(_frame(10, 200)).tolist() == [1, 2]
    assert tracker.update(_frame(196, 14)).tolist() == [2, 1]
    assert tracker.update(_frame(18, 400, 192)).tolist() == [1, 3, 2]
    assert tracker.update(_frame()).tolist() == []
    assert tracker.update(_frame(186, 24)).tolist() == [2, 1]


def test_the_assignment_is_the_best_overall():
    """The person at 30 is nearest to both people in the next frame, but can match only one."""
    tracker = Tracker()
    tracker.update(_frame(0, 30))
    assert tracker.update(_frame(24, 8)).tolist() == [2, 1]


def test_ids_of_ended_tracks_are_not_reused():
    tracker = Tracker()
    tracker.update(_frame(10))
    for _ in range(29):
        tracker.update(_frame())
    assert tracker.update(_frame(10)).tolist() == [1] and tracker.ids == {1}
    for _ in range(30):
        tracker.update(_frame())
    assert tracker.update(_frame(10)).tolist() == [2] and tracker.ids == {2}


def _followed(tracker: Tracker, moves: list[float]) -> PoseResult:
    """The frame in which the poses are these distances to the right of their boxes' own poses."""
    boxes = tracker.boxes().xywh
    moved = _frame(*boxes[:, 0] + moves)
    return dataclasses.replace(moved, boxes=boxes)


def test_boxes_move_with_the_sure_joints():
    tracker = Tracker()
    assert tracker.update(_frame(100, 300)).tolist() == [1, 2]
    np.testing.assert_allclose(tracker.boxes().xywh, [[100, 10, 40, 100], [300, 10, 40, 100]])
    for step in (1, 2, 3):
        result = _followed(tracker, [50, -3])
        result.keypoints[:, :5] += 500  # wrong joints
        result.scores[:, 5] = 0.1
        assert tracker.follow(result).tolist() == [1, 2], "a fast person keeps the id"
        np.testing.assert_allclose(
            tracker.boxes().xywh, [[100 + 50 * step, 10, 40, 100], [300 - 3 * step, 10, 40, 100]]
        )
    assert tracker.update(_frame(297, 252)).tolist() == [2, 1]
    np.testing.assert_allclose(tracker.boxes().xywh, [[297, 10, 40, 100], [252, 10, 40, 100]])


def test_followed_poses_may_be_fewer_and_reordered():
    tracker = Tracker()
    tracker.update(_frame(100, 200, 300))
    boxes = tracker.boxes().xywh[[2, 0]]
    assert tracker.follow(dataclasses.replace(_frame(305, 105), boxes=boxes)).tolist() == [3, 1]
    np.testing.assert_allclose(tracker.boxes().xywh[:, 0], [305, 105])
    assert tracker.follow(_frame()).tolist() == [] and len(tracker.boxes().xywh) == 0
    assert tracker.update(_frame(205)).tolist() == [2]


def test_poses_without_sure_joints_are_not_followed():
    tracker = Tracker()
    tracker.update(_frame(100, scores=0.1))
    assert len(tracker.boxes().xywh) == 0
    tracker.update(_frame(100))
    unsure = dataclasses.replace(_followed(tracker, [0]), scores=np.full((1, 17), 0.1))
    assert tracker.follow(unsure).tolist() == [1]
    assert len(tracker.boxes().xywh) == 0


def test_iou_of_boxes():
    boxes = np.array([[0.0, 0, 10, 10], [5, 0, 10, 10], [10, 0, 10, 10], [2, 2, 5, 5]])
    assert iou(boxes, np.array([0.0, 0, 10, 10])).tolist() == pytest.approx([1, 1 / 3, 0, 0.25])
