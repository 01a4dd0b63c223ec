"""Object keypoint similarity (OKS) and what is built on it: non-maximum suppression and rescoring.

Scores are float64 throughout: a float32 mean splits ties, which moves AP in the third decimal.
"""

import numpy as np
from jaxtyping import Float, Int

from mamkpd_jax.skeletons import JOINT_THRESHOLD

_MAX_SOFT_POSES = 20  # of an image, COCO's limit


def joint_similarity(
    points: Float[np.ndarray, "n j 2"],
    reference: Float[np.ndarray, "j 2"],
    area_px: float | Float[np.ndarray, " n"],
    sigmas: tuple[float, ...],
) -> Float[np.ndarray, "n j"]:
    """exp(-distance^2 / (2 area (2 sigma)^2)), the term of each joint in the OKS. Source: COCOeval."""
    variances = np.square(2 * np.asarray(sigmas))
    squared = np.sum(np.square(points - reference), axis=-1)
    areas_px = np.broadcast_to(area_px, len(points))[:, None] + np.spacing(1)
    return np.exp(-squared / (2 * variances * areas_px))


def oks_nms(
    points: Float[np.ndarray, "n j 2"],
    scores: Float[np.ndarray, " n"],
    areas_px: Float[np.ndarray, " n"],
    sigmas: tuple[float, ...],
    threshold: float,
    *,
    soft: bool = False,
) -> Int[np.ndarray, " kept"]:
    """Indices of the poses that stay, best first: a pose goes where a better one has an OKS above `threshold`.

    The area is the mean of the two poses' areas. With `soft` a better pose lowers the scores of those like it by
    exp(-OKS^2 / threshold) for the order alone, and the first 20 stay. Source: HRNet's test code (arXiv 1902.09212).
    """
    order = np.argsort(-scores, kind="stable")
    ranks = scores[order]
    kept = []
    while order.size and not (soft and len(kept) == _MAX_SOFT_POSES):
        best, rest, ranks = order[0], order[1:], ranks[1:]
        kept.append(best)
        areas = (areas_px[best] + areas_px[rest]) / 2
        oks = joint_similarity(points[rest], points[best], areas, sigmas).mean(axis=1)
        if soft:
            ranks = ranks * np.exp(-np.square(oks) / threshold)
            chosen = np.argsort(-ranks, kind="stable")
        else:
            chosen = np.flatnonzero(oks <= threshold)
        order, ranks = rest[chosen], ranks[chosen]
    return np.array(kept, np.int64)


def rescore(box_scores: Float[np.ndarray, " n"], joint_scores: Float[np.ndarray, "n j"]) -> Float[np.ndarray, " n"]:
    """Score of each pose: the box's times the mean of the joint scores above JOINT_THRESHOLD, 0 where none is above.

    Source: the test code of SimpleBaseline and HRNet (arXiv 1902.09212); MMPose has the same rule.
    """
    joint_scores = joint_scores.astype(np.float64)
    good = joint_scores > JOINT_THRESHOLD
    mean = np.where(good, joint_scores, 0.0).sum(axis=1) / np.maximum(good.sum(axis=1), 1)
    return box_scores.astype(np.float64) * mean


def iou(boxes: Float[np.ndarray, "n 4"], box: Float[np.ndarray, "4"]) -> Float[np.ndarray, " n"]:
    """Intersection over union of boxes x, y, width, height with one."""
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    common = np.maximum(high - low, 0).prod(axis=1)
    return common / (boxes[:, 2:].prod(axis=1) + box[2:].prod() - common)
