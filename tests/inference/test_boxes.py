"""Boxes that are unsure or of no use are left out, and only the latter are told."""

import numpy as np
import pytest

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import Usable, as_boxes, whole_image

IMAGE = np.zeros((40, 60, 3), np.uint8)


def test_unsure_and_unusable_boxes_are_left_out():
    boxes = [[0, 0, 10, 10], [5, 5, 9, 9], [70, 0, 5, 5], [70, 0, 5, 5], [-5, -5, 9, 9], [0, 0, np.inf, 3]]
    usable = Usable(lambda _: (boxes, [0.9, 0.1, 0.9, 0.1, 0.3, np.nan]), 0.3)
    found = usable(IMAGE)
    np.testing.assert_array_equal(found.xywh, [[0, 0, 10, 10], [-5, -5, 9, 9]])
    np.testing.assert_array_equal(found.scores, [0.9, 0.3])
    outside, infinite = usable.faults
    assert outside == "the box (70, 0, 5, 5) lies outside the image of 60x40 pixels"
    assert infinite == "the box (0, 0, inf, 3) with the score nan is not in finite numbers"
    assert len(Usable(lambda _: ([], []), 0.3)(IMAGE).xywh) == 0


def test_the_whole_image_is_a_box():
    boxes, scores = whole_image(IMAGE)
    assert boxes.tolist() == [[0, 0, 60, 40]] and scores == [1]


@pytest.mark.parametrize(("xywh", "scores"), [([1, 2, 3, 4], None), ([[1, 2, 3, 4]], [1, 1]), ([["a"] * 4], None)])
def test_other_forms_are_told(xywh, scores):
    with pytest.raises(UserError, match="expected"):
        as_boxes(xywh, scores)
