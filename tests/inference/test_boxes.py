"""Boxes with low scores and invalid boxes are left out; only the invalid ones are reported."""

import re

import numpy as np
import pytest

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import as_boxes, valid_boxes, whole_image

IMAGE = np.zeros((40, 60, 3), np.uint8)


def test_low_scored_and_invalid_boxes_are_left_out():
    boxes = [[0, 0, 10, 10], [5, 5, 9, 9], [70, 0, 5, 5], [70, 0, 5, 5], [-5, -5, 9, 9], [0, 0, np.inf, 3]]
    found, left_out = valid_boxes(as_boxes(boxes, [0.9, 0.1, 0.9, 0.1, 0.3, np.nan]), IMAGE.shape[:2], 0.3)
    np.testing.assert_array_equal(found.xywh, [[0, 0, 10, 10], [-5, -5, 9, 9]])
    np.testing.assert_array_equal(found.scores, [0.9, 0.3])
    outside, infinite = left_out
    assert outside == "the box (70, 0, 5, 5) lies outside the image of 60x40 pixels"
    assert infinite == "the box (0, 0, inf, 3) with the score nan is not in finite numbers"
    assert len(valid_boxes(as_boxes([], []), IMAGE.shape[:2], 0.3)[0].xywh) == 0


def test_the_whole_image_is_a_box():
    boxes, scores = whole_image(IMAGE)
    assert boxes.tolist() == [[0, 0, 60, 40]] and scores == [1]


@pytest.mark.parametrize(
    ("xywh", "scores", "line"),
    [
        ([1, 2, 3, 4], None, "have the shape (4,)"),
        ([[1, 2, 3, 4]], [1, 1], "the scores (2,)"),
        ([["a"] * 4], None, "are not numbers"),
        ([[10**400, 0, 5, 5]], None, "are not numbers"),
    ],
)
def test_boxes_of_other_forms_are_refused(xywh, scores, line):
    with pytest.raises(UserError, match=f"{re.escape(line)}.*expected"):
        as_boxes(xywh, scores)
