"""Predictions in COCO's results form."""

from collections import defaultdict
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mamkpd_jax.data.annotation_files import NO_ANNOTATION
from mamkpd_jax.evaluation.oks import oks_nms, rescore

NMS_THRESHOLD = 0.9


def coco_results(
    points: Float[np.ndarray, "n j 2"],
    joint_scores: Float[np.ndarray, "n j"],
    box_scores: Float[np.ndarray, " n"],
    areas_px: Float[np.ndarray, " n"],
    image_ids: Int[np.ndarray, " n"],
    category_ids: Int[np.ndarray, " n"],
    annotation_ids: Int[np.ndarray, " n"],
    sigmas: tuple[float, ...] | None,
    soft_nms: bool = False,
) -> list[dict[str, Any]]:
    """Predictions in COCO's results form, rescored; with 'annotation_id' where the box was an annotation's.

    Args:
        points: in pixels of the image.
        areas_px: of the crops, for the NMS.
        annotation_ids: whose box it was, or NO_ANNOTATION.
        sigmas: of the OKS-NMS among an image's poses (OKS above 0.9); None for ground-truth boxes, which need none.
    """
    scores = rescore(box_scores, joint_scores)
    kept = np.arange(len(scores))
    if sigmas is not None:
        by_image = defaultdict(list)
        for i, image_id in enumerate(image_ids):
            by_image[int(image_id)].append(i)
        kept = [
            rows[i]
            for rows in by_image.values()
            for i in oks_nms(points[rows], scores[rows], areas_px[rows], sigmas, NMS_THRESHOLD, soft=soft_nms)
        ]
    return [
        {
            "image_id": int(image_ids[i]),
            "category_id": int(category_ids[i]),
            "keypoints": np.column_stack([points[i], joint_scores[i]]).astype(np.float64).round(3).ravel().tolist(),
            "score": float(scores[i]),
            **({"annotation_id": int(annotation_ids[i])} if annotation_ids[i] != NO_ANNOTATION else {}),
        }
        for i in kept
    ]
