"""Scoring the results file of any program against an annotation file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mamkpd_jax.data.annotation_files import check_annotations, read_arrays, read_json, read_mpii_truth
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.metrics import metric, score
from mamkpd_jax.evaluation.scores import Scores, check_poses
from mamkpd_jax.skeletons import MPII, Skeleton, find_skeleton


def score_files(
    metrics: Sequence[str], predictions: Path, annotations: Path, skeleton: Skeleton | None = None
) -> Scores:
    """The values of a results file.

    Args:
        metrics: as in `config.eval.metrics`. 'mpii' reads a .mat or .npz with `preds` [n, 16, 2], 1-based, and HRNet's
            gt_valid.mat; all others read COCO's results and annotation forms, PCK with 'annotation_id' in the results.
        skeleton: None: that of the annotations' categories. 'mpii' has its own.

    Raises:
        UserError: a file is missing, damaged or doesn't fit the other.
    """
    scorers = [metric(name) for name in metrics]
    if "mpii" in metrics:
        joints, truth = MPII, _mpii_truth(annotations)
        results = _mpii_results(predictions, len(truth["annotations"]))
    else:
        truth, results = read_json(annotations), read_json(predictions)
        joints = skeleton or find_skeleton("", truth.get("categories", []) if isinstance(truth, dict) else [])
        check_annotations(annotations, truth, joints.n_joints)
        check_poses(results, joints)
    for scorer in scorers:
        scorer.check(truth, joints)
    return score(scorers, truth, results, joints)


def _mpii_truth(path: Path) -> dict[str, Any]:
    """gt_valid.mat in COCO's annotation form. Its pixels count from 1, as those of the predictions do."""
    truth = read_mpii_truth(path)
    keypoints = np.concatenate([truth["joints"], 2 * truth["visible"][..., None]], axis=-1)
    rows = zip(keypoints.reshape(len(keypoints), -1).tolist(), truth["head_box"].tolist(), strict=True)
    return {"annotations": [{"id": i, "keypoints": joints, "head_box": head} for i, (joints, head) in enumerate(rows)]}


def _mpii_results(path: Path, n_persons: int) -> list[dict[str, Any]]:
    (points,) = read_arrays(path, "preds")
    if points.shape != (n_persons, MPII.n_joints, 2):
        raise UserError(
            f"{path} has preds of shape {points.shape}; expected {(n_persons, MPII.n_joints, 2)}, one pose for each "
            "person of the annotations, in their order"
        )
    poses = np.concatenate([points, np.ones((n_persons, MPII.n_joints, 1))], axis=-1).reshape(n_persons, -1)
    return [{"annotation_id": i, "keypoints": pose} for i, pose in enumerate(poses.tolist())]
