"""The interface of the modules in `evaluation/metrics`, and functions that score results and result files."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from mamkpd_jax.data.annotation_files import are_numbers, read_json
from mamkpd_jax.data.labels import read_labels
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.coco_results import SUPPRESSED
from mamkpd_jax.keypoint_names import meaning
from mamkpd_jax.registry import METRICS
from mamkpd_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The values of a metric. A value without ground truth to score is -1, as in COCO's evaluation code."""

    values: dict[str, float]  # by name, the main one first
    instances: dict[int, float]  # score from 0 to 1 by annotation id


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric, with its requirements and the reader of its files."""

    name: str
    # Scores results (second argument) against annotations (first), both in COCO's form. UserError: they don't match.
    evaluate: Callable[[dict[str, Any], Sequence[dict[str, Any]], Skeleton], Scores]
    fields: tuple[str, ...] = ()  # fields that each annotation needs, besides its ids and joints
    joints: tuple[str, ...] = ()  # joints that the skeleton needs
    by_annotation: bool = True  # scores the pose in each annotation's box; False: ranks poses by score, after OKS-NMS
    # Reads predictions and annotations in another form. Returns annotations and results in COCO's form, and skeleton.
    read_files: Callable[[Path, Path], tuple[dict[str, Any], list[dict[str, Any]], Skeleton]] | None = None

    def check(self, ground_truth: dict[str, Any], skeleton: Skeleton, *, detected: bool = False) -> None:
        """Raises UserError if the metric can't score results on these annotations.

        Args:
            detected: whether the results come from detected boxes.
        """
        needs = f"config.eval.metrics names {self.name}, which needs"
        if missing := [joint for joint in self.joints if meaning(joint) not in skeleton.meanings]:
            raise UserError(
                f"{needs} the keypoint {missing[0]}; the skeleton {skeleton.name!r} lacks it, in any spelling; give "
                "another metric"
            )
        for annotation in ground_truth["annotations"]:
            if missing := [field for field in self.fields if field not in annotation]:
                raise UserError(
                    f"{needs} {missing[0]!r} in each annotation, and that of id {annotation['id']} lacks it; give "
                    "another metric, or annotations or a split with this field"
                )
        if detected and self.by_annotation:
            raise UserError(f"{needs} ground-truth boxes; leave config.eval.detections empty, or give another metric")


def unknown_metric(name: str, expected: str) -> UserError:
    """The error for a metric's name with invalid parameters."""
    return UserError(f"config.eval.metrics names {name!r}; expected {expected}")


def score(
    metrics: Sequence[Metric],
    ground_truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    skeleton: Skeleton,
) -> Scores:
    """The values of several metrics, in their order, and the instances' scores by the first metric."""
    scores = [metric.evaluate(ground_truth, results, skeleton) for metric in metrics]
    values = {name: value for part in scores for name, value in part.values.items()}
    return Scores(values=values, instances=scores[0].instances)


def check_poses(results: Any, skeleton: Skeleton) -> None:
    """Raises UserError for the first result that is not a pose of the skeleton in finite numbers."""
    if not isinstance(results, list):
        raise UserError(f"the results have type {type(results).__name__}; expected a list in COCO's results form")
    for i, result in enumerate(results):
        pose = result.get("keypoints") if isinstance(result, dict) else None
        if not are_numbers(pose, 3 * skeleton.n_joints):
            raise UserError(
                f"result {i} has no 'keypoints' of {3 * skeleton.n_joints} finite numbers, three for each of the "
                f"{skeleton.n_joints} joints of {skeleton.name}; look for NaN or for poses of another skeleton"
            )
        check_poses(result.get(SUPPRESSED, []), skeleton)


def score_files(
    metrics: Sequence[str], predictions: Path, annotations: Path, skeleton: Skeleton | None = None
) -> Scores:
    """The scores of a results file.

    Args:
        metrics: names as in `config.eval.metrics`. If one of them has `read_files`, such as 'mpii', it reads the files.
            Otherwise they are COCO's results and annotations; PCK needs an 'annotation_id' in each result.
        skeleton: None: the skeleton of the annotations' categories. `read_files` ignores it.

    Raises:
        UserError: a file is missing or damaged, or the two files don't match.
    """
    scorers = [METRICS[name](name) for name in metrics]
    readers = [scorer.read_files for scorer in scorers if scorer.read_files is not None]
    if readers:
        truth, results, joints = readers[0](predictions, annotations)
    else:
        labels, results = read_labels(annotations, skeleton), read_json(predictions)
        for line in labels.findings.lines():
            logging.info("%s: %s", annotations, line)
        truth, joints = labels.content, labels.skeleton
        check_poses(results, joints)
    for scorer in scorers:
        scorer.check(truth, joints)
    return score(scorers, truth, results, joints)
