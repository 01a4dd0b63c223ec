"""Runs a predictor over the validation split and scores it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from mamkpd_jax.config import Config
from mamkpd_jax.data.functional import from_crops
from mamkpd_jax.data.opening import EvaluationData
from mamkpd_jax.data.pipeline import DamageGuard, eval_batches
from mamkpd_jax.evaluation.coco_results import coco_results
from mamkpd_jax.evaluation.scores import metric, score
from mamkpd_jax.processes import gather_interleaved

# Crops uint8 [b, h, w, 3] to joints [b, j, 2] in pixels of the crop, and their scores [b, j].
PredictCrops = Callable[[np.ndarray], tuple[ArrayLike, ArrayLike]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Metrics, the one to judge by first; predictions and truth in COCO's forms; each annotation's score, 0 to 1."""

    metrics: dict[str, float]
    results: list[dict[str, Any]]
    ground_truth: dict[str, Any]
    instances: dict[int, float]


class Evaluator:
    """Scores predictors on the validation split, with ground-truth boxes or `config.eval.detections`.

    Each process of a run predicts its part of the split, and all of them score the whole.
    """

    def __init__(self, dataset: EvaluationData, config: Config):
        """Raises UserError if one of `config.eval.metrics` can't score the split, before anything is predicted."""
        self._dataset = dataset
        self._config = config
        self._metrics = [metric(name) for name in config.eval.metrics]
        self._ground_truth = dataset.val.ground_truth()
        for scorer in self._metrics:
            scorer.check(self._ground_truth, dataset.skeleton, detected=dataset.detections is not None)

    def __call__(self, predict: PredictCrops) -> Evaluation:
        """Evaluates a function from crops to points in crop pixels, and scores.

        Raises:
            UserError: more than 1% of the images can't be decoded; fewer are left out.
        """
        dataset = self._dataset
        source = dataset.val if dataset.detections is None else dataset.detections
        guard = DamageGuard(dataset.val.n_images)
        columns: dict[str, list[np.ndarray]] = {}
        part = jax.process_index(), jax.process_count()
        for batch in eval_batches(source, dataset.eval_crop, self._config.eval.batch_size, part):
            guard.check(batch)
            points, scores = (np.asarray(values, np.float64) for values in predict(batch["image"]))
            crop = dataset.eval_crop
            points, areas_px = from_crops(points, batch["matrix"], crop.input_hw, udp=crop.udp)
            rows = {
                "points": points,
                "joint_scores": scores,
                "areas_px": areas_px,
                **{name: batch[name] for name in ("image_id", "category_id", "annotation_id", "score", "damaged")},
            }
            for name, values in rows.items():
                columns.setdefault(name, []).append(values)
        # The last batch is padded, and a damaged image has no prediction.
        n_here = len(range(len(source))[part[0] :: part[1]])
        table = {name: np.concatenate(parts)[:n_here] for name, parts in columns.items()}
        table = {name: gather_interleaved(rows, len(source)) for name, rows in table.items()}
        table = {name: values[~table["damaged"]] for name, values in table.items()}
        results = coco_results(
            table["points"],
            table["joint_scores"],
            table["score"],
            table["areas_px"],
            table["image_id"],
            table["category_id"],
            table["annotation_id"],
            dataset.skeleton.sigmas if dataset.detections is not None else None,
            self._config.eval.soft_nms,
        )
        scores = score(self._metrics, self._ground_truth, results, dataset.skeleton)
        return Evaluation(
            metrics=scores.values, results=results, ground_truth=self._ground_truth, instances=scores.instances
        )
