"""Skeletons: indices agree with names and with the figures that COCO's own tools use."""

import numpy as np
from pycocotools.cocoeval import Params

from mamkpd_jax.skeletons import COCO


def test_flip_pairs_are_the_left_and_right_of_a_joint():
    for a, b in COCO.flip_pairs:
        assert COCO.joints[a].replace("left", "right") == COCO.joints[b]
    paired = {joint for pair in COCO.flip_pairs for joint in pair}
    assert {joint for i, joint in enumerate(COCO.joints) if i not in paired} == {"nose"}


def test_flip_indices_undo_themselves():
    indices = np.array(COCO.flip_indices)
    np.testing.assert_array_equal(indices[indices], np.arange(17))
    assert (indices != np.arange(17)).sum() == 16


def test_halves_are_the_whole_body_and_edges_are_joints():
    assert sorted(COCO.upper_body + COCO.lower_body) == list(range(17))
    assert {joint for edge in COCO.edges for joint in edge} == set(range(17))


def test_sigmas_are_those_of_cocoeval():
    np.testing.assert_allclose(COCO.sigmas, Params("keypoints").kpt_oks_sigmas)
