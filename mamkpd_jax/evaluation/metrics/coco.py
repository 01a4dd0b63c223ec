"""COCO's keypoint metrics: AP and AR over OKS thresholds from pycocotools, and OKS by joint and by instance."""

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
_FIELDS = ("image_id", "category_id", "iscrowd", "num_keypoints", "area", "bbox")  # that each annotation needs


def metric(name: str, family: str = "coco") -> Metric:
    """COCO's AP with the sigmas of the data set's skeleton. `name` must be `family`, the prefix of its values."""
    if name != family:
        raise unknown_metric(name, family)
    return Metric(name=name, evaluate=partial(evaluate_coco, family=family), fields=_FIELDS, by_annotation=False)


def evaluate_coco(
    ground_truth: dict[str, Any], results: Sequence[dict[str, Any]], skeleton: Skeleton, family: str = "coco"
) -> Scores:
    """COCO's AP and AR, '<family>/AP' first, and the mean OKS term of each joint, '<family>/oks/<joint>'.

    AP is averaged over the categories with instances; for AP-10K these are the species. COCOeval matches ground-truth
    instances with predictions at OKS 0.5. An instance's score is the OKS of its match. A joint's value is the mean of
    its OKS terms over the instances where it is labelled. Both count an instance without a match as 0.

    Args:
        ground_truth: in COCO's annotation form, crowds included.
        results: in COCO's results form.

    Raises:
        UserError: a result has an image that the ground truth lacks, NaN or another number of joints.
    """
    _check_results(ground_truth, results, skeleton)
    with contextlib.redirect_stdout(io.StringIO()):
        truth: Any = COCO()
        categories = sorted({annotation["category_id"] for annotation in ground_truth["annotations"]})
        truth.dataset = {
            **ground_truth,
            "info": {},
            "categories": [{"id": category} for category in categories],
            # COCOeval reads a match with the id 0 as no match.
            "annotations": [{**a, "id": i} for i, a in enumerate(ground_truth["annotations"], start=1)],
        }
        truth.createIndex()
        # loadRes refuses an empty list, but a model may predict nothing, which scores 0.
        found = truth.loadRes(_pycocotools_fields(results)) if results else COCO()
        evaluation = COCOeval(truth, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(skeleton.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # COCOeval gives -1 for a value without instances, for example APL without large persons.
    values = {f"{family}/{name}": float(v) for name, v in zip(METRICS, evaluation.stats, strict=True)}
    joints, by_place = _similarities(evaluation, truth, found, skeleton)
    instances = {ground_truth["annotations"][place - 1]["id"]: oks for place, oks in by_place.items()}
    return Scores(values=values | {f"{family}/oks/{name}": oks for name, oks in joints.items()}, instances=instances)


def _pycocotools_fields(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results with only those fields that pycocotools should read.

    pycocotools takes the type of all results from the fields of the first. If a result has a box, the box gives its
    area, which decides whether an unmatched result counts in APM, APL or neither. Otherwise the extent of the joints
    gives the area. pycocotools can't handle boxes in only some of the results, so then all boxes are left out.
    """
    names = ["image_id", "category_id", "keypoints", "score"]
    if all(are_numbers(result.get("bbox"), 4) for result in results):
        names.append("bbox")
    ids = ({name: as_id(result[name]) for name in ("image_id", "category_id")} for result in results)
    return [{name: result[name] for name in names} | fields for result, fields in zip(results, ids, strict=True)]


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
                f"result {i} (image {result['image_id']}) has the score {result['score']}; expected a finite number"
            )
    if lost := [c for c in (as_id(result["category_id"]) for result in results) if c not in categories]:
        logging.warning("%d results are ignored: no annotation has their category (first: %d)", len(lost), lost[0])


def _similarities(
    evaluation: Any, truth: Any, found: Any, skeleton: Skeleton
) -> tuple[dict[str, float], dict[int, float]]:
    """The mean OKS term by joint, -1 for a joint that is never labelled; and the OKS by annotation."""
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
