"""PCK, the percentage of correct keypoints: pck_NORMALISER@THRESHOLD, such as pck_torso@0.2.

Each predicted pose belongs to one annotation, whose box it was predicted in. An annotation without a prediction counts
as wrong in all of its joints. Values are in percent.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mamkpd_jax.data.annotation_files import as_id
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.coco_results import with_suppressed
from mamkpd_jax.evaluation.scores import Metric, Scores, check_poses, unknown_metric
from mamkpd_jax.skeletons import Skeleton

# The pairs of joints whose mean distance it is; of the box none.
_NORMALISERS: dict[str, tuple[tuple[str, str], ...]] = {
    "torso": (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")),
    "head": (("neck", "head_top"),),
    "box": (),
}


def metric(name: str) -> Metric:
    """PCK as `name` gives its normaliser and threshold."""
    kind, _, threshold = name.partition("@")
    normaliser = kind.removeprefix("pck_")
    if normaliser not in _NORMALISERS or not _is_positive(threshold):
        expected = f"pck_NORMALISER@THRESHOLD with one of {', '.join(_NORMALISERS)} and a number above 0"
        raise unknown_metric(name, expected)
    return Metric(
        name=name,
        evaluate=partial(_evaluate, normaliser=normaliser, threshold=float(threshold)),
        fields=("bbox",) if normaliser == "box" else (),
        joints=tuple(joint for pair in _NORMALISERS[normaliser] for joint in pair),
    )


def _is_positive(number: str) -> bool:
    try:
        return 0 < float(number) < math.inf
    except ValueError:
        return False


def _evaluate(
    ground_truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    skeleton: Skeleton,
    normaliser: str,
    threshold: float,
) -> Scores:
    """'pck_<normaliser>@<threshold>/mean', the plain mean of the joints' rates, and each joint's.

    A joint is correct within `threshold` times the normaliser: the torso (the mean of the labelled ones of the two
    distances from a shoulder to the opposite hip), the head (from neck to head top), or the longer side of the box.
    Instances that lack the normaliser are left out, and counted in '.../left_out'.

    Raises:
        UserError: results and annotations don't fit together.
    """
    points, joints, annotations = match(ground_truth, results, skeleton)
    lengths = _lengths(joints, annotations, skeleton, normaliser)
    usable = np.isfinite(lengths) & (lengths > 0)
    labelled = (joints[..., 2] > 0) & usable[:, None]
    right = correct(points, joints[..., :2], lengths, threshold) & labelled
    rates = joint_rates(right, labelled)
    name = f"pck_{normaliser}@{threshold:g}"
    values = {f"{name}/mean": mean_rate(rates), f"{name}/left_out": float((~usable).sum())}
    values |= {f"{name}/{joint}": mean_rate(rates[[i]]) for i, joint in enumerate(skeleton.joints)}
    return Scores(values=values, instances=by_instance(right, labelled, annotations))


def correct(
    points: Float[np.ndarray, "n j 2"],
    reference: Float[np.ndarray, "n j 2"],
    lengths: Float[np.ndarray, " n"],
    threshold: float,
) -> Bool[np.ndarray, "n j"]:
    """Whether each joint is within `threshold` times its instance's length; NaN never is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.linalg.norm(points - reference, axis=-1) / lengths[:, None] <= threshold


def match(
    ground_truth: dict[str, Any], results: Sequence[dict[str, Any]], skeleton: Skeleton
) -> tuple[Float[np.ndarray, "n j 2"], Float[np.ndarray, "n j 3"], list[dict[str, Any]]]:
    """The predicted points (NaN where there is none), joints and entries of the annotations with a labelled joint.

    Raises:
        UserError: a result is of no annotation or of one that another is of, has NaN or another number of joints.
    """
    check_poses(results, skeleton)
    results = with_suppressed(results)
    annotations = [a for a in ground_truth["annotations"] if not a.get("iscrowd") and any(a["keypoints"][2::3])]
    row_of = {annotation["id"]: row for row, annotation in enumerate(annotations)}
    points = np.full((len(annotations), skeleton.n_joints, 2), np.nan)
    for i, result in enumerate(results):
        row = row_of.get(as_id(result.get("annotation_id")))
        if row is None:
            raise UserError(
                f"result {i} has the annotation_id {result.get('annotation_id')}; PCK needs that of a labelled "
                "annotation (our own results have it with ground-truth boxes: leave config.eval.detections empty)"
            )
        if np.isfinite(points[row]).all():
            raise UserError(f"result {i} is the second of annotation {result['annotation_id']}; give one of each")
        points[row] = np.array(result["keypoints"], np.float64).reshape(-1, 3)[:, :2]
    joints = np.array([a["keypoints"] for a in annotations], np.float64).reshape(-1, skeleton.n_joints, 3)
    return points, joints, annotations


def _lengths(
    joints: Float[np.ndarray, "n j 3"], annotations: list[dict[str, Any]], skeleton: Skeleton, normaliser: str
) -> Float[np.ndarray, " n"]:
    if normaliser == "box":
        return np.array([max(a["bbox"][2:]) for a in annotations], np.float64)
    pairs = np.array([[skeleton.index(name) for name in pair] for pair in _NORMALISERS[normaliser]])
    a, b = joints[:, pairs[:, 0]], joints[:, pairs[:, 1]]
    both = (a[..., 2] > 0) & (b[..., 2] > 0)
    total = (np.linalg.norm(a[..., :2] - b[..., :2], axis=-1) * both).sum(axis=1)
    count = both.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def joint_rates(right: Bool[np.ndarray, "n j"], labelled: Bool[np.ndarray, "n j"]) -> Float[np.ndarray, " j"]:
    """Percentages by joint; NaN for a joint that is never labelled."""
    count = labelled.sum(axis=0)
    return np.where(count > 0, 100.0 * right.sum(axis=0) / np.maximum(count, 1), np.nan)


def mean_rate(rates: Float[np.ndarray, " n"]) -> float:
    """Of the rates that there are; -1 where there is none, as in COCO's values."""
    there = rates[np.isfinite(rates)]
    return float(there.mean()) if there.size else -1.0


def by_instance(
    right: Bool[np.ndarray, "n j"], labelled: Bool[np.ndarray, "n j"], annotations: list[dict[str, Any]]
) -> dict[int, float]:
    """The share of correct joints of every annotation that has one to score."""
    counts = zip(annotations, right.sum(axis=1), labelled.sum(axis=1), strict=True)
    return {annotation["id"]: float(n / of) for annotation, n, of in counts if of}
