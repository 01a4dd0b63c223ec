"""Object keypoint similarity (OKS), non-maximum suppression (NMS) with it, and rescoring of poses.

All scores are float64, because means in float32 break ties, which changes AP in the third decimal.
"""

import numpy as np
from jaxtyping import Float, Int

from mamkpd_jax.skeletons import JOINT_THRESHOLD

_MAX_SOFT_POSES = 20  # COCO's limit for an image


def joint_similarity(
    points: Float[np.ndarray, "n j 2"],
    reference: Float[np.ndarray, "j 2"],
    area_px: float | Float[np.ndarray, " n"],
    sigmas: tuple[float, ...],
) -> Float[np.ndarray, "n j"]:
    """The OKS term of each joint: exp(-distance^2 / (2 area (2 sigma)^2)). Source: COCOeval.

    Args:
        points: n poses, in pixels.
        reference: the pose that they are compared with, in pixels.
        area_px: the area of the instance, or one for each pose.
        sigmas: the sigma of each joint.
    """
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
    """The indices of the poses of an image that NMS keeps, best first.

    A pose is dropped if its OKS with a better one is above `threshold`. The area in the OKS is the mean of the two
    poses' areas. Source: HRNet's test code (arXiv 1902.09212).

    Args:
        points: the poses, in pixels.
        areas_px: their areas.
        soft: keep the first 20 poses instead. Each better pose multiplies the scores of the others by
            exp(-OKS^2 / threshold), which changes only their order.
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
    """The score of each pose: the box score times the mean of the joint scores above JOINT_THRESHOLD.

    It is 0 if no joint score is above. Source: the test code of SimpleBaseline and HRNet (arXiv 1902.09212). MMPose has
    the same rule.
    """
    joint_scores = joint_scores.astype(np.float64)
    good = joint_scores > JOINT_THRESHOLD
    mean = np.where(good, joint_scores, 0.0).sum(axis=1) / np.maximum(good.sum(axis=1), 1)
    return box_scores.astype(np.float64) * mean


def iou(boxes: Float[np.ndarray, "n 4"], box: Float[np.ndarray, "4"]) -> Float[np.ndarray, " n"]:
    """The intersection over union of each of `boxes` with `box`. Boxes are x, y, width, height."""
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    common = np.maximum(high - low, 0).prod(axis=1)
    return common / (boxes[:, 2:].prod(axis=1) + box[2:].prod() - common)
