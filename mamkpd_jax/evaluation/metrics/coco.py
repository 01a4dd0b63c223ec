"""COCO's keypoint metrics: AP and AR over OKS thresholds by pycocotools, and OKS by joint and by instance."""

import contextlib
import io
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from absl import logging
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mamkpd_jax.data.annotation_files import are_numbers, as_id
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.oks import joint_similarity
from mamkpd_jax.evaluation.scores import Metric, Scores, check_poses, unknown_metric
from mamkpd_jax.skeletons import Skeleton

METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
_FIELDS = ("image_id", "category_id", "iscrowd", "num_keypoints", "area", "bbox")  # of annotations


def metric(name: str, family: str = "coco") -> Metric:
    """COCO's AP, with the sigmas of the data set's skeleton, by the name `family`, which `name` must be."""
    if name != family:
        raise unknown_metric(name, family)
    return Metric(name=name, evaluate=partial(evaluate_coco, family=family), fields=_FIELDS, by_annotation=False)


def evaluate_coco(
    ground_truth: dict[str, Any], results: Sequence[dict[str, Any]], skeleton: Skeleton, family: str = "coco"
) -> Scores:
    """AP and AR as COCO reports them, '<family>/AP' first, and the mean OKS term of each joint, '<family>/oks/<joint>'.

    AP is over the categories that have instances, which for AP-10K are the species. A joint's value is over the
    ground-truth instances in which it is labelled, each with the prediction that COCOeval matches it with at OKS 0.5,
    0 where it matches none. An instance's score is the OKS of that match.

    Args:
        ground_truth: in COCO's annotation form, crowds included.
        results: in COCO's results form.

    Raises:
        UserError: a result is of an image that the ground truth lacks, has NaN or another number of joints.
    """
    _check_results(ground_truth, results, skeleton)
    with contextlib.redirect_stdout(io.StringIO()):
        truth: Any = COCO()
        categories = sorted({annotation["category_id"] for annotation in ground_truth["annotations"]})
        truth.dataset = {
            **ground_truth,
            "info": {},
            "categories": [{"id": category} for category in categories],
            # Numbered from 1: COCOeval takes a match with 0 for none.
            "annotations": [{**a, "id": i} for i, a in enumerate(ground_truth["annotations"], start=1)],
        }
        truth.createIndex()
        # loadRes refuses an empty list; no result at all is an honest outcome and scores 0.
        found = truth.loadRes(_fields(results)) if results else COCO()
        evaluation = COCOeval(truth, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(skeleton.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # COCOeval marks a value without any instance (no large persons, say) by -1.
    values = {f"{family}/{name}": float(v) for name, v in zip(METRICS, evaluation.stats, strict=True)}
    joints, by_place = _similarities(evaluation, truth, found, skeleton)
    instances = {ground_truth["annotations"][place - 1]["id"]: oks for place, oks in by_place.items()}
    return Scores(values=values | {f"{family}/oks/{name}": oks for name, oks in joints.items()}, instances=instances)


def _fields(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What pycocotools reads of results: it takes all for the kind that the first one's fields tell.

    A box gives the area of a result, by which an unmatched one counts in APM, APL or neither. Where some have none, for
    which pycocotools has no answer, all boxes are left out, and the areas are those of the joints' extents.
    """
    names = ["image_id", "category_id", "keypoints", "score"]
    if all(are_numbers(result.get("bbox"), 4) for result in results):
        names.append("bbox")
    ids = ({name: as_id(result[name]) for name in ("image_id", "category_id")} for result in results)
    return [{name: result[name] for name in names} | own for result, own in zip(results, ids, strict=True)]


def _check_results(ground_truth: dict[str, Any], results: Sequence[dict[str, Any]], skeleton: Skeleton) -> None:
    check_poses(results, skeleton)
    images = {image["id"] for image in ground_truth["images"]}
    categories = {annotation["category_id"] for annotation in ground_truth["annotations"]}
    for i, result in enumerate(results):
        ids = as_id(result.get("image_id")), as_id(result.get("category_id"))
        if None in ids or "score" not in result:
            raise UserError(f"result {i} has no image_id, category_id or score; expected COCO's results form")
        if ids[0] not in images:
            raise UserError(
                f"result {i} is of image {result['image_id']}, which the annotations lack; give the annotations of its "
                "split"
            )
        if not are_numbers([result["score"]], 1):
            raise UserError(
                f"result {i} (image {result['image_id']}) has the score {result['score']}, no finite number"
            )
    if lost := [c for c in (as_id(result["category_id"]) for result in results) if c not in categories]:
        logging.warning("%d results don't count: no annotation has their category, as %d", len(lost), lost[0])


def _similarities(
    evaluation: Any, truth: Any, found: Any, skeleton: Skeleton
) -> tuple[dict[str, float], dict[int, float]]:
    """Mean OKS terms by joint, -1 for a joint that is never labelled, and OKS by annotation."""
    total, count = np.zeros(skeleton.n_joints), np.zeros(skeleton.n_joints)
    instances = {}
    all_areas = evaluation.params.areaRng[0]
    for image in evaluation.evalImgs:
        if image is None or image["aRng"] != all_areas:
            continue
        for gt_id, match, ignored in zip(image["gtIds"], image["gtMatches"][0], image["gtIgnore"], strict=True):
            if ignored:
                continue
            annotation = truth.anns[gt_id]
            joints = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
            labelled = joints[:, 2] > 0
            similar = np.zeros(skeleton.n_joints)
            if match:
                points = np.array(found.anns[int(match)]["keypoints"], np.float64).reshape(1, -1, 3)[..., :2]
                similar = joint_similarity(points, joints[:, :2], float(annotation["area"]), skeleton.sigmas)[0]
            total, count = total + labelled * similar, count + labelled
            instances[int(gt_id)] = float(similar[labelled].mean())
    means = np.where(count > 0, total / np.maximum(count, 1), -1.0)
    return dict(zip(skeleton.joints, means.tolist(), strict=True)), instances
