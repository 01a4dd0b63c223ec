"""Scoring the results file of any program against an annotation file."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mamkpd_jax.data.annotation_files import check_annotations, read_json
from mamkpd_jax.evaluation.scores import Scores, check_poses, score
from mamkpd_jax.registry import METRICS
from mamkpd_jax.skeletons import Skeleton, find_skeleton


def score_files(
    metrics: Sequence[str], predictions: Path, annotations: Path, skeleton: Skeleton | None = None
) -> Scores:
    """The values of a results file.

    Args:
        metrics: as in `config.eval.metrics`. A metric with `read_files` decides how the files are read, such as 'mpii';
            without one, they are COCO's results and annotations, PCK with 'annotation_id' in the results.
        skeleton: None: that of the annotations' categories. A metric with `read_files` has its own.

    Raises:
        UserError: a file is missing, damaged or doesn't fit the other.
    """
    scorers = [METRICS[name](name) for name in metrics]
    own = [scorer.read_files for scorer in scorers if scorer.read_files is not None]
    read = own[0] if own else partial(_read_coco, skeleton)
    truth, results, joints = read(predictions, annotations)
    for scorer in scorers:
        scorer.check(truth, joints)
    return score(scorers, truth, results, joints)


def _read_coco(
    skeleton: Skeleton | None, predictions: Path, annotations: Path
) -> tuple[dict[str, Any], list[dict[str, Any]], Skeleton]:
    truth, results = read_json(annotations), read_json(predictions)
    joints = skeleton or find_skeleton("", truth.get("categories", []) if isinstance(truth, dict) else [])
    check_annotations(annotations, truth, joints.n_joints)
    check_poses(results, joints)
    return truth, results, joints
