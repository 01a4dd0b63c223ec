"""Predictions in COCO's results form."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mamkpd_jax.data.annotation_files import NO_ANNOTATION, SplitBox
from mamkpd_jax.evaluation.oks import oks_nms, rescore

NMS_THRESHOLD = 0.9
# Choice: a results file lists only the poses that COCO's metrics score, so that it can be submitted. Metrics by
# annotation also need the poses in ground-truth boxes that NMS drops. The best pose of an image has them in this field.
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
    """Predictions in COCO's results form, rescored, with OKS-NMS (threshold 0.9) among the poses of each image.

    Results of ground-truth boxes have an 'annotation_id'.

    Args:
        points: one pose for each box, in pixels of the images.
        areas_px: areas of the crops in the images, for the NMS.
        sigmas: the joints' sigmas for the NMS; None: no NMS.
        soft_nms: lower the scores of similar poses instead of dropping them, see `oks_nms`.
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
    """All predicted poses: each result, followed by the poses in its field SUPPRESSED."""
    return [pose for result in results for pose in (result, *result.get(SUPPRESSED, ()))]


def coco_result(
    points: Float[np.ndarray, "j 2"], joint_scores: Float[np.ndarray, " j"], score: float, **ids: int
) -> dict[str, Any]:
    """A pose in COCO's results form. `ids` are fields such as image_id."""
    keypoints = np.column_stack([points, joint_scores]).astype(np.float64).round(3).ravel().tolist()
    return {**ids, "keypoints": keypoints, "score": float(score)}
