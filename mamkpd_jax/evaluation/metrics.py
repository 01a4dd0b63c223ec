"""The metrics by the names that `config.eval.metrics` gives them."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation import coco, pck
from mamkpd_jax.evaluation.scores import Scores
from mamkpd_jax.skeletons import MPII, Skeleton


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric and what it needs of the annotations, besides their ids and joints."""

    name: str
    # Scores results (the second argument) against annotations, both in COCO's form; UserError where they don't fit.
    evaluate: Callable[[dict[str, Any], Sequence[dict[str, Any]], Skeleton], Scores]
    fields: tuple[str, ...] = ()  # of each annotation
    joints: tuple[str, ...] = ()  # of the skeleton
    by_annotation: bool = True  # each result is of an annotation's box

    def check(self, ground_truth: dict[str, Any], skeleton: Skeleton, *, detected: bool = False) -> None:
        """Raises UserError if no results can be scored by it; `detected` says that theirs are detected boxes."""
        needs = f"config.eval.metrics names {self.name}, which needs"
        if missing := [joint for joint in self.joints if joint not in skeleton.joints]:
            raise UserError(f"{needs} the joint {missing[0]}, and {skeleton.name} has none; give another metric")
        for annotation in ground_truth["annotations"]:
            if missing := [field for field in self.fields if field not in annotation]:
                raise UserError(
                    f"{needs} {missing[0]!r} in each annotation, and that of id {annotation['id']} lacks it; give "
                    "another metric, or annotations or a split that have it"
                )
        if detected and self.by_annotation:
            raise UserError(f"{needs} ground-truth boxes; leave config.eval.detections empty, or give another metric")


def metric(name: str) -> Metric:
    """'coco', 'ap10k', 'mpii', or PCK as 'pck_NORMALISER@THRESHOLD', such as 'pck_torso@0.2'.

    Raises:
        UserError: there is no such metric.
    """
    if name in ("coco", "ap10k"):
        evaluate = partial(coco.evaluate_coco, family=name)
        return Metric(name=name, evaluate=evaluate, fields=coco.FIELDS, by_annotation=False)
    if name == "mpii":
        return Metric(name=name, evaluate=pck.evaluate_mpii, fields=("head_box",), joints=MPII.joints)
    kind, _, threshold = name.partition("@")
    normaliser = kind.removeprefix("pck_")
    try:
        if normaliser in pck.NORMALISERS and kind != normaliser and 0 < float(threshold) < math.inf:
            return Metric(
                name=name,
                evaluate=partial(pck.evaluate_pck, normaliser=normaliser, threshold=float(threshold)),
                fields=("bbox",) if normaliser == "box" else (),
                joints=tuple(joint for pair in pck.NORMALISERS[normaliser] for joint in pair),
            )
    except ValueError:
        pass
    raise UserError(
        f"config.eval.metrics names {name!r}; expected coco, ap10k, mpii or pck_NORMALISER@THRESHOLD with one of "
        f"{', '.join(pck.NORMALISERS)} and a number above 0"
    )


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
