"""MPII's PCKh with HRNet's conventions. It also scores the results and ground-truth files of HRNet's code."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mamkpd_jax.data.annotation_files import read_arrays, read_mpii_truth
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.metrics.pck import by_instance, correct, joint_rates, match, mean_rate
from mamkpd_jax.evaluation.scores import Metric, Scores, unknown_metric
from mamkpd_jax.skeletons import MPII, Skeleton

_GROUPS = {
    "Head": ("head_top",),
    **{
        name.capitalize(): (f"left_{name}", f"right_{name}")
        for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    },
}
_MASKED = ("pelvis", "thorax")


def metric(name: str) -> Metric:
    """MPII's PCKh. The only valid name is 'mpii'."""
    if name != "mpii":
        raise unknown_metric(name, "mpii")
    return Metric(name=name, evaluate=_evaluate, fields=("head_box",), joints=MPII.joints, read_files=_read_files)


def _evaluate(ground_truth: dict[str, Any], results: Sequence[dict[str, Any]], skeleton: Skeleton) -> Scores:
    """PCKh in percent, at 0.5 and in part at 0.1.

    'mpii/Mean_weighted' is HRNet's mean, over all joints of all persons. 'mpii/Mean' is the mean of 14 joints' rates.
    The other values at 0.5 are means of joint groups, such as 'mpii/Elbow'. '@0.1' marks the two means at 0.1.

    The head size is 0.6 of the diagonal of the annotation's 'head_box' [x1, y1, x2, y2]. Pelvis and thorax don't count.
    The code of HRNet and SimpleBaseline reads the value at 0.11 for the Mean@0.1 of their tables. It is
    'mpii/Mean_weighted@0.11' here.

    Raises:
        UserError: results and annotations don't match.

    Source: MPII's evaluation code as in the official HRNet repository (arXiv 1902.09212).
    """
    points, joints, annotations = match(ground_truth, results, skeleton)
    corners = np.array([annotation["head_box"] for annotation in annotations], np.float64).reshape(-1, 2, 2)
    heads = 0.6 * np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    labelled = joints[..., 2] > 0
    labelled[:, [skeleton.index(name) for name in _MASKED]] = False
    hits, at_tenth, at_11 = (correct(points, joints[..., :2], heads, at) & labelled for at in (0.5, 0.1, 0.11))
    rates = joint_rates(hits, labelled)
    values = {"mpii/Mean_weighted": _percentage(hits, labelled), "mpii/Mean": mean_rate(rates)}
    for group, names in _GROUPS.items():
        values[f"mpii/{group}"] = mean_rate(rates[[skeleton.index(name) for name in names]])
    values |= {
        "mpii/Mean_weighted@0.1": _percentage(at_tenth, labelled),
        "mpii/Mean@0.1": mean_rate(joint_rates(at_tenth, labelled)),
        "mpii/Mean_weighted@0.11": _percentage(at_11, labelled),
    }
    return Scores(values=values, instances=by_instance(hits, labelled, annotations))


def _percentage(hits: Bool[np.ndarray, "n j"], labelled: Bool[np.ndarray, "n j"]) -> float:
    return float(100.0 * hits.sum() / labelled.sum()) if labelled.any() else -1.0


def _read_files(predictions: Path, annotations: Path) -> tuple[dict[str, Any], list[dict[str, Any]], Skeleton]:
    """Reads HRNet's gt_valid.mat, and predictions `preds` [n, 16, 2] in a .mat or .npz file. Pixels count from 1."""
    truth = read_mpii_truth(annotations)
    (points,) = read_arrays(predictions, "preds")
    if points.shape != truth["joints"].shape:
        raise UserError(
            f"{predictions} has preds of shape {points.shape}; expected {truth['joints'].shape}, one pose for each "
            "person of the annotations, in their order"
        )
    joints, poses = _flat(truth["joints"], 2 * truth["visible"]), _flat(points, np.ones_like(truth["visible"]))
    heads = truth["head_box"].tolist()
    entries = [{"id": i, "keypoints": joints[i], "head_box": head} for i, head in enumerate(heads)]
    return {"annotations": entries}, [{"annotation_id": i, "keypoints": pose} for i, pose in enumerate(poses)], MPII


def _flat(points: Float[np.ndarray, "n j 2"], third: Float[np.ndarray, "n j"]) -> list[list[float]]:
    """Poses in COCO's form: three numbers for each joint."""
    return np.concatenate([points, third[..., None]], axis=-1).reshape(len(points), -1).tolist()
