"""The metrics by the names that `config.eval.metrics` gives them."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.coco import evaluate_coco
from mamkpd_jax.evaluation.pck import NORMALISERS, evaluate_mpii, evaluate_pck
from mamkpd_jax.evaluation.scores import Scores
from mamkpd_jax.skeletons import Skeleton

# Scores results (the second argument) against annotations, both in COCO's form; raises UserError where they don't fit.
Metric = Callable[[dict[str, Any], Sequence[dict[str, Any]], Skeleton], Scores]


def metric(name: str) -> Metric:
    """'coco', 'ap10k', 'mpii', or PCK as 'pck_NORMALISER@THRESHOLD', such as 'pck_torso@0.2'.

    Raises:
        UserError: there is no such metric.
    """
    if name in ("coco", "ap10k"):
        return partial(evaluate_coco, family=name)
    if name == "mpii":
        return evaluate_mpii
    kind, _, threshold = name.partition("@")
    normaliser = kind.removeprefix("pck_")
    try:
        if normaliser in NORMALISERS and kind != normaliser and 0 < float(threshold) < math.inf:
            return partial(evaluate_pck, normaliser=normaliser, threshold=float(threshold))
    except ValueError:
        pass
    raise UserError(
        f"config.eval.metrics names {name!r}; expected coco, ap10k, mpii or pck_NORMALISER@THRESHOLD with one of "
        f"{', '.join(NORMALISERS)} and a number above 0"
    )


def score(
    metrics: Sequence[Metric],
    ground_truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    skeleton: Skeleton,
) -> Scores:
    """The figures of several metrics, the first one's headline first, and the instances' scores by the first."""
    scores = [metric(ground_truth, results, skeleton) for metric in metrics]
    figures = {name: figure for part in scores for name, figure in part.figures.items()}
    return Scores(figures=figures, instances=scores[0].instances)
