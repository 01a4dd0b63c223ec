"""Drawn poses, labels and heatmaps are in the right places, and nothing else changes."""

import numpy as np

from mamkpd_jax.skeleton_files import make_skeleton
from mamkpd_jax.visualize import draw_beside_truth, draw_pose, overlay_heatmap

PAIR = make_skeleton("pair", {"joints": ["left_end", "right_end"], "edges": [[0, 1]]})
LEFT, RIGHT = (230, 159, 0), (86, 180, 233)


def test_labels_are_beside_drawn_joints():
    keypoints = np.array([[20.0, 60, 0.91], [20, 120, 0.1]])
    plain, labelled = np.zeros((2, 150, 150, 3), np.uint8)
    draw_pose(plain, keypoints, PAIR)
    draw_pose(labelled, keypoints, PAIR, label="score")
    ys, xs = np.nonzero((plain != labelled).any(axis=2))
    assert ys.size > 20 and xs.min() >= 20, "to the right of the joint"
    assert 40 < ys.min() and ys.max() < 70, "at its height, and none beside the one that is left out"


def test_labelled_poses_are_left_of_predicted_ones():
    image = np.zeros((40, 30, 3), np.uint8)
    truth, predicted = [[5, 5, 1, 0, 0, 0]], [[5, 5, 0.1, 20, 30, 0.9]]
    picture = draw_beside_truth(image, (0, 0, 30, 40), truth, predicted, PAIR, height_px=40)
    assert picture.shape == (40, 60, 3)
    assert tuple(picture[5, 5]) == LEFT and not picture[20:, :30].any()
    assert tuple(picture[30, 50]) == RIGHT and not picture[:20, 30:].any()


def test_overlay_darkens_low_and_whitens_high_values():
    image = np.full((4, 8, 3), 100, np.uint8)
    heat = overlay_heatmap(image, np.array([[-0.5, 0.0], [0.5, 1.5]]))
    assert (heat[:2] == 50).all()
    assert (heat[2:, :4] == 152).all() and (heat[2:, 4:] == 255).all()
