"""PCK, the percentage of correct keypoints: pck_NORMALISER@THRESHOLD, such as pck_torso@0.2.

Each predicted pose belongs to the annotation whose box it was predicted in. All joints of an annotation without a
prediction count as wrong. Values are in percent.
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

# The length of a normaliser is the mean distance of these pairs of joints. The box has no pairs.
_NORMALISERS: dict[str, tuple[tuple[str, str], ...]] = {
    "torso": (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")),
    "head": (("neck", "head_top"),),
    "box": (),
}


def metric(name: str) -> Metric:
    """PCK with the normaliser and threshold in `name`. Raises UserError if they are invalid."""
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
    """The rate of each joint, 'pck_<normaliser>@<threshold>/<joint>', and first their unweighted mean, '.../mean'.

    A joint is correct if its distance is at most `threshold` times the normaliser. The normaliser is one of:
    - torso: the mean distance between a shoulder and the opposite hip, over the one or two labelled pairs;
    - head: the distance between neck and head top;
    - box: the longer side of the box.

    Instances without the normaliser are left out, and counted in '.../left_out'.

    Raises:
        UserError: results and annotations don't match.
    """
    points, joints, annotations = match(ground_truth, results, skeleton)
    lengths = _lengths(joints, annotations, skeleton, normaliser)
    usable = np.isfinite(lengths) & (lengths > 0)
    labelled = (joints[..., 2] > 0) & usable[:, None]
    hits = correct(points, joints[..., :2], lengths, threshold) & labelled
    rates = joint_rates(hits, labelled)
    name = f"pck_{normaliser}@{threshold:g}"
    values = {f"{name}/mean": mean_rate(rates), f"{name}/left_out": float((~usable).sum())}
    values |= {f"{name}/{joint}": mean_rate(rates[[i]]) for i, joint in enumerate(skeleton.joints)}
    return Scores(values=values, instances=by_instance(hits, labelled, annotations))


def correct(
    points: Float[np.ndarray, "n j 2"],
    reference: Float[np.ndarray, "n j 2"],
    lengths: Float[np.ndarray, " n"],
    threshold: float,
) -> Bool[np.ndarray, "n j"]:
    """Whether each joint is within `threshold` times its instance's length. NaN counts as wrong."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.linalg.norm(points - reference, axis=-1) / lengths[:, None] <= threshold


def match(
    ground_truth: dict[str, Any], results: Sequence[dict[str, Any]], skeleton: Skeleton
) -> tuple[Float[np.ndarray, "n j 2"], Float[np.ndarray, "n j 3"], list[dict[str, Any]]]:
    """Matches results with the annotations that have a labelled joint.

    Returns:
        The predicted points (NaN without a prediction), the joints and the entries of these annotations.

    Raises:
        UserError: a result has no annotation, the annotation of another result, NaN or another number of joints.
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
                "annotation; leave config.eval.detections empty, so that results of ground-truth boxes have it"
            )
        if np.isfinite(points[row]).all():
            raise UserError(
                f"result {i} is the second of annotation {result['annotation_id']}; give one for each annotation"
            )
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


def joint_rates(hits: Bool[np.ndarray, "n j"], labelled: Bool[np.ndarray, "n j"]) -> Float[np.ndarray, " j"]:
    """The percentage of correct instances by joint; NaN for a joint that is never labelled."""
    count = labelled.sum(axis=0)
    return np.where(count > 0, 100.0 * hits.sum(axis=0) / np.maximum(count, 1), np.nan)


def mean_rate(rates: Float[np.ndarray, " n"]) -> float:
    """The mean of the finite rates; -1 if there is none, as in COCO's values."""
    finite = rates[np.isfinite(rates)]
    return float(finite.mean()) if finite.size else -1.0


def by_instance(
    hits: Bool[np.ndarray, "n j"], labelled: Bool[np.ndarray, "n j"], annotations: list[dict[str, Any]]
) -> dict[int, float]:
    """The fraction of correct joints by annotation id, for annotations with a joint to score."""
    counts = zip(annotations, hits.sum(axis=1), labelled.sum(axis=1), strict=True)
    return {annotation["id"]: float(n / of) for annotation, n, of in counts if of}
