"""Predictions in COCO's results form."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mamkpd_jax.data.annotation_files import NO_ANNOTATION, SplitBox
from mamkpd_jax.evaluation.oks import oks_nms, rescore

NMS_THRESHOLD = 0.9
# Choice: a results file lists what COCO's metrics score, so that it can be submitted. Poses of annotations' boxes that
# NMS drops are in this field of the best pose of their image, because metrics by annotation score them too.
SUPPRESSED = "suppressed"


def coco_results(
    points: Float[np.ndarray, "n j 2"],
    joint_scores: Float[np.ndarray, "n j"],
    areas_px: Float[np.ndarray, " n"],
    boxes: Sequence[SplitBox],
    sigmas: tuple[float, ...] | None = None,
    *,
    soft_nms: bool = False,
) -> list[dict[str, Any]]:
    """Predictions in COCO's results form, rescored; with 'annotation_id' where the box was an annotation's.

    Args:
        points: one pose for each box, in pixels of the images.
        areas_px: of the crops, for the NMS.
        sigmas: of the OKS-NMS among an image's poses (OKS above 0.9); None: no NMS.
    """
    scores = rescore(np.array([box.score for box in boxes], np.float64), joint_scores)

    def result(i: int) -> dict[str, Any]:
        ids = {"image_id": boxes[i].image_id, "category_id": boxes[i].category_id}
        annotation_id = boxes[i].annotation_id
        of_annotation = {} if annotation_id == NO_ANNOTATION else {"annotation_id": annotation_id}
        return coco_result(points[i], joint_scores[i], scores[i], **ids, **of_annotation)

    by_image = defaultdict(list)
    for i, box in enumerate(boxes):
        by_image[box.image_id].append(i)
    results = []
    for rows in by_image.values():
        kept = rows
        if sigmas is not None:
            nms = oks_nms(points[rows], scores[rows], areas_px[rows], sigmas, NMS_THRESHOLD, soft=soft_nms)
            kept = [rows[i] for i in nms]
        best, *others = map(result, kept)
        suppressed = [result(i) for i in rows if i not in kept and boxes[i].annotation_id != NO_ANNOTATION]
        results += [best | {SUPPRESSED: suppressed} if suppressed else best, *others]
    return results


def with_suppressed(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All predicted poses: each result, followed by those in its field SUPPRESSED."""
    return [pose for result in results for pose in (result, *result.get(SUPPRESSED, ()))]


def coco_result(
    points: Float[np.ndarray, "j 2"], joint_scores: Float[np.ndarray, " j"], score: float, **ids: int
) -> dict[str, Any]:
    """A pose in COCO's results form."""
    keypoints = np.column_stack([points, joint_scores]).astype(np.float64).round(3).ravel().tolist()
    return {**ids, "keypoints": keypoints, "score": float(score)}
