"""Predictions in COCO's results form."""

import dataclasses
from collections import defaultdict
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mamkpd_jax.data.annotation_files import NO_ANNOTATION
from mamkpd_jax.evaluation.oks import oks_nms, rescore

NMS_THRESHOLD = 0.9


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Poses of one or many images, one for each box."""

    points: Float[np.ndarray, "n j 2"]  # in pixels of the image
    joint_scores: Float[np.ndarray, "n j"]
    box_scores: Float[np.ndarray, " n"]
    areas_px: Float[np.ndarray, " n"]  # of the crops, for the NMS
    image_ids: Int[np.ndarray, " n"]
    category_ids: Int[np.ndarray, " n"]
    annotation_ids: Int[np.ndarray, " n"]  # whose box it was, or NO_ANNOTATION


def coco_results(
    predictions: Predictions, sigmas: tuple[float, ...] | None = None, *, soft_nms: bool = False
) -> list[dict[str, Any]]:
    """Predictions in COCO's results form, rescored; with 'annotation_id' where the box was an annotation's.

    Args:
        sigmas: of the OKS-NMS among an image's poses (OKS above 0.9); None for ground-truth boxes, which need none.
    """
    p = predictions
    scores = rescore(p.box_scores, p.joint_scores)
    kept = np.arange(len(scores))
    if sigmas is not None:
        by_image = defaultdict(list)
        for i, image_id in enumerate(p.image_ids):
            by_image[int(image_id)].append(i)
        kept = [
            rows[i]
            for rows in by_image.values()
            for i in oks_nms(p.points[rows], scores[rows], p.areas_px[rows], sigmas, NMS_THRESHOLD, soft=soft_nms)
        ]
    results = []
    for i in kept:
        ids = {"image_id": int(p.image_ids[i]), "category_id": int(p.category_ids[i])}
        result = coco_result(p.points[i], p.joint_scores[i], scores[i], **ids)
        annotation_id = int(p.annotation_ids[i])
        results.append(result if annotation_id == NO_ANNOTATION else {**result, "annotation_id": annotation_id})
    return results


def coco_result(
    points: Float[np.ndarray, "j 2"], joint_scores: Float[np.ndarray, " j"], score: float, **ids: int
) -> dict[str, Any]:
    """A pose in COCO's results form."""
    keypoints = np.column_stack([points, joint_scores]).astype(np.float64).round(3).ravel().tolist()
    return {**ids, "keypoints": keypoints, "score": float(score)}
