"""COCO's keypoint metrics: AP and AR over OKS thresholds by pycocotools, and OKS by joint."""

import contextlib
import io
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.oks import joint_similarity, oks_nms, rescore
from mamkpd_jax.skeletons import Skeleton

METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
_NMS_THRESHOLD = 0.9


def coco_results(
    points: Float[np.ndarray, "n j 2"],
    joint_scores: Float[np.ndarray, "n j"],
    box_scores: Float[np.ndarray, " n"],
    areas_px: Float[np.ndarray, " n"],
    image_ids: Int[np.ndarray, " n"],
    category_ids: Int[np.ndarray, " n"],
    sigmas: tuple[float, ...] | None,
) -> list[dict[str, Any]]:
    """Predictions in COCO's results form, rescored.

    Args:
        points: in pixels of the image.
        areas_px: of the crops, for the NMS.
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
            for i in oks_nms(points[rows], scores[rows], areas_px[rows], sigmas, _NMS_THRESHOLD)
        ]
    return [
        {
            "image_id": int(image_ids[i]),
            "category_id": int(category_ids[i]),
            "keypoints": np.column_stack([points[i], joint_scores[i]]).astype(np.float64).round(3).ravel().tolist(),
            "score": float(scores[i]),
        }
        for i in kept
    ]


def evaluate_coco(
    ground_truth: dict[str, Any], results: Sequence[dict[str, Any]], skeleton: Skeleton
) -> dict[str, float]:
    """AP and AR as COCO reports them, and the mean OKS term of each joint, 'coco/oks/<joint>'.

    A joint's figure is over the ground-truth instances in which it is labelled, each with the prediction that COCOeval
    matches it with at OKS 0.5, 0 where it matches none.

    Args:
        ground_truth: in COCO's annotation form, crowds included.
        results: in COCO's results form.

    Raises:
        UserError: a result is of an image that the ground truth lacks, has NaN or another number of joints.
    """
    check_results(ground_truth, results, skeleton)
    with contextlib.redirect_stdout(io.StringIO()):
        truth: Any = COCO()
        truth.dataset = {"info": {}, **ground_truth}
        truth.createIndex()
        # loadRes refuses an empty list; no result at all is an honest outcome and scores 0.
        found = truth.loadRes([dict(result) for result in results]) if results else COCO()
        evaluation = COCOeval(truth, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(skeleton.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # COCOeval marks a figure without any instance (no large persons, say) by -1.
    metrics = {f"coco/{name}": float(v) for name, v in zip(METRICS, evaluation.stats, strict=True)}
    return metrics | _joint_similarities(evaluation, truth, found, skeleton)


def check_results(ground_truth: dict[str, Any], results: Sequence[dict[str, Any]], skeleton: Skeleton) -> None:
    """Raises UserError with the first result that can't be scored."""
    images = {image["id"] for image in ground_truth["images"]}
    for i, result in enumerate(results):
        if result["image_id"] not in images:
            raise UserError(
                f"result {i} is of image {result['image_id']}, which the annotations lack; give the annotations of its "
                "split"
            )
        if len(result["keypoints"]) != 3 * skeleton.n_joints:
            raise UserError(
                f"result {i} has {len(result['keypoints'])} keypoint numbers; {skeleton.name} has "
                f"{skeleton.n_joints} joints, three numbers each"
            )
        if not np.isfinite([*result["keypoints"], result["score"]]).all():
            raise UserError(
                f"result {i} (image {result['image_id']}) holds NaN or infinite numbers; expected finite ones"
            )


def _joint_similarities(evaluation: Any, truth: Any, found: Any, skeleton: Skeleton) -> dict[str, float]:
    total, count = np.zeros(skeleton.n_joints), np.zeros(skeleton.n_joints)
    all_areas = evaluation.params.areaRng[0]
    for image in evaluation.evalImgs:
        if image is None or image["aRng"] != all_areas:
            continue
        matches = zip(image["gtIds"], image["gtMatches"][0], image["gtIgnore"], strict=True)
        for gt_id, match, ignored in matches:
            if ignored:
                continue
            annotation = truth.anns[gt_id]
            joints = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
            labelled = joints[:, 2] > 0
            count += labelled
            if match:
                points = np.array(found.anns[int(match)]["keypoints"], np.float64).reshape(1, -1, 3)[..., :2]
                area = float(annotation["area"])
                total += labelled * joint_similarity(points, joints[:, :2], area, skeleton.sigmas)[0]
    return {
        f"coco/oks/{joint}": float(total[i] / count[i]) if count[i] else -1.0 for i, joint in enumerate(skeleton.joints)
    }
