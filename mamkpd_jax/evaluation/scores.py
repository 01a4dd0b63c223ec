"""What a module of `evaluation/metrics` gives and what it takes: metrics; and the scoring of results and of files."""

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
    """The values of a metric by name, the one to judge by first; and a score from 0 to 1 by annotation.

    A value without ground truth to score is -1, as in COCO's own evaluation.
    """

    values: dict[str, float]
    instances: dict[int, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric, what it needs of the annotations besides their ids and joints, and how it reads its files."""

    name: str
    # Scores results (the second argument) against annotations, both in COCO's form; UserError where they don't fit.
    evaluate: Callable[[dict[str, Any], Sequence[dict[str, Any]], Skeleton], Scores]
    fields: tuple[str, ...] = ()  # of each annotation
    joints: tuple[str, ...] = ()  # of the skeleton
    by_annotation: bool = True  # scores the pose of each annotation's box; else ranks poses by score, after OKS-NMS
    # Reads predictions and annotations of other forms than COCO's: annotations and results in COCO's form, skeleton.
    read_files: Callable[[Path, Path], tuple[dict[str, Any], list[dict[str, Any]], Skeleton]] | None = None

    def check(self, ground_truth: dict[str, Any], skeleton: Skeleton, *, detected: bool = False) -> None:
        """Raises UserError if no results can be scored by it; `detected` says that theirs are detected boxes."""
        needs = f"config.eval.metrics names {self.name}, which needs"
        if missing := [joint for joint in self.joints if meaning(joint) not in skeleton.meanings]:
            raise UserError(
                f"{needs} the joint {missing[0]}, and {skeleton.name} has none, in any spelling; give another metric"
            )
        for annotation in ground_truth["annotations"]:
            if missing := [field for field in self.fields if field not in annotation]:
                raise UserError(
                    f"{needs} {missing[0]!r} in each annotation, and that of id {annotation['id']} lacks it; give "
                    "another metric, or annotations or a split that have it"
                )
        if detected and self.by_annotation:
            raise UserError(f"{needs} ground-truth boxes; leave config.eval.detections empty, or give another metric")


def unknown_metric(name: str, expected: str) -> UserError:
    """The error for a name with parameters that its metric does not have."""
    return UserError(f"config.eval.metrics names {name!r}; expected {expected}")


def score(
    metrics: Sequence[Metric],
    ground_truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    skeleton: Skeleton,
) -> Scores:
    """The values of several metrics, the first one's headline first, and the instances' scores by the first."""
    scores = [metric.evaluate(ground_truth, results, skeleton) for metric in metrics]
    values = {name: value for part in scores for name, value in part.values.items()}
    return Scores(values=values, instances=scores[0].instances)


def check_poses(results: Any, skeleton: Skeleton) -> None:
    """Raises UserError with the first result that holds no pose of the skeleton in finite numbers."""
    if not isinstance(results, list):
        raise UserError(f"the results are no list but {type(results).__name__}; expected COCO's results form")
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
    if own:
        truth, results, joints = own[0](predictions, annotations)
    else:
        labels, results = read_labels(annotations, skeleton), read_json(predictions)
        for line in labels.findings.lines():
            logging.info("%s: %s", annotations, line)
        truth, joints = labels.content, labels.skeleton
        check_poses(results, joints)
    for scorer in scorers:
        scorer.check(truth, joints)
    return score(scorers, truth, results, joints)
