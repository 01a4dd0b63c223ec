"""Where a model errs: scores by the size and by the labelled joints of instances, and pictures of the worst ones."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mamkpd_jax.data.functional import DamagedImage, decode_image
from mamkpd_jax.data.opening import EvaluationData
from mamkpd_jax.evaluation.evaluator import Evaluation
from mamkpd_jax.skeletons import JOINT_THRESHOLD
from mamkpd_jax.visualize import contact_sheet, draw_beside_truth

Region = tuple[int, int, int, int]
Pose = list[int | float]  # in COCO's form, 3 numbers a joint
_SIDES_PX = (32, 96)  # between small, medium and large; COCO's
_JOINTS = (5, 10, 15)
SHOWN = 16  # pairs of pictures
_TILE_HW = (240, 640)
_MARGIN = 0.25  # around a box, of its sides


def breakdown(evaluation: Evaluation) -> dict[str, dict[str, dict[str, int | float]]]:
    """Counts and mean scores of instances, by size and by the number of labelled joints.

    The scores are those of the first metric, from 0 to 1: the OKS of the match, or the share of correct joints.
    """

    def size(annotation: dict[str, Any]) -> str:
        side = annotation["area"] ** 0.5
        return "small" if side < _SIDES_PX[0] else "medium" if side < _SIDES_PX[1] else "large"

    def joints(annotation: dict[str, Any]) -> str:
        n = sum(v > 0 for v in annotation["keypoints"][2::3])
        return next((f"up to {limit}" for limit in _JOINTS if n <= limit), f"above {_JOINTS[-1]}")

    return {"by_size": _group(evaluation, size), "by_labelled_joints": _group(evaluation, joints)}


def _group(evaluation: Evaluation, name: Callable[[dict[str, Any]], str]) -> dict[str, dict[str, int | float]]:
    groups: dict[str, list[float]] = {}
    for annotation in evaluation.ground_truth["annotations"]:
        if annotation["id"] in evaluation.instances:
            groups.setdefault(name(annotation), []).append(evaluation.instances[annotation["id"]])
    return {group: {"instances": len(s), "mean_score": float(np.mean(s))} for group, s in sorted(groups.items())}


def worst_instances(evaluation: Evaluation, dataset: EvaluationData) -> UInt8[np.ndarray, "h w 3"]:
    """The instances with the lowest scores, the worst first, as `beside_truth` shows them.

    The right picture shows every pose predicted in the image, whatever its joints' scores, as far as the instance's
    surroundings reach.
    """
    truth = evaluation.ground_truth
    record_of = {image["id"]: record for record, image in enumerate(truth["images"])}
    annotations = [a for a in truth["annotations"] if a["id"] in evaluation.instances]
    annotations.sort(key=lambda annotation: evaluation.instances[annotation["id"]])
    shown = []
    for annotation in annotations[:SHOWN]:
        x, y, w, h = annotation["bbox"]
        ends = x - _MARGIN * w, y - _MARGIN * h, x + (1 + _MARGIN) * w + 1, y + (1 + _MARGIN) * h + 1
        region = int(ends[0]), int(ends[1]), int(ends[2]), int(ends[3])
        shown.append((record_of[annotation["image_id"]], region, [annotation["keypoints"]]))
    return beside_truth(shown, evaluation.results, dataset, threshold=-np.inf)


def beside_truth(
    shown: Iterable[tuple[int, Region, list[Pose]]],
    results: Sequence[dict[str, Any]],
    dataset: EvaluationData,
    *,
    threshold: float = JOINT_THRESHOLD,
) -> UInt8[np.ndarray, "h w 3"]:
    """Regions of images, in pairs: the labelled poses at the left, all that were predicted in the image at the right.

    Images that can't be decoded, and regions outside their image, are left out.

    Args:
        shown: record of the image in the split; left, top, right, bottom in pixels; the labelled poses.
        threshold: predicted joints with a score up to it are left out.
    """
    pairs = []
    for record, region, labelled in shown:
        content = dataset.val.image(record)
        try:
            image = decode_image(content["image"])
        except DamagedImage:
            continue
        if min(region[2:]) <= 0 or region[0] >= image.shape[1] or region[1] >= image.shape[0]:
            continue
        poses = labelled, [r["keypoints"] for r in results if r["image_id"] == content["image_id"]]
        pair = draw_beside_truth(image, region, *poses, dataset.skeleton, height_px=_TILE_HW[0], threshold=threshold)
        pairs.append(pair)
    return contact_sheet(pairs, tile_hw=_TILE_HW, columns=2)
