"""Runs a predictor over the validation split and scores it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from mamkpd_jax.config import Config
from mamkpd_jax.data.annotation_files import SplitBox
from mamkpd_jax.data.functional import from_crops
from mamkpd_jax.data.opening import EvaluationData
from mamkpd_jax.data.pipeline import DamageGuard, eval_batches
from mamkpd_jax.evaluation.coco_results import coco_results
from mamkpd_jax.evaluation.scores import score
from mamkpd_jax.processes import gather
from mamkpd_jax.registry import METRICS

# From crops uint8 [b, h, w, 3] to joints [b, j, 2] in pixels of the crops, and joint scores [b, j].
PredictCrops = Callable[[np.ndarray], tuple[ArrayLike, ArrayLike]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The outcome of an evaluation."""

    metrics: dict[str, float]  # by name, the main one first
    results: list[dict[str, Any]]  # predictions in COCO's results form
    ground_truth: dict[str, Any]  # in COCO's annotation form
    instances: dict[int, float]  # score from 0 to 1 by annotation id


class Evaluator:
    """Scores predictors on the validation split, with ground-truth boxes or `config.eval.detections`.

    If a metric ranks poses by their scores, OKS-NMS runs for both kinds of boxes, as in the code of HRNet and MMPose.
    Each process of a run predicts its part of the split. Then every process scores the full split.
    """

    def __init__(self, dataset: EvaluationData, config: Config):
        """Checks that `config.eval.metrics` can score the split, before any prediction.

        Raises:
            UserError: a metric can't score it.
        """
        self._dataset = dataset
        self._config = config
        self._metrics = [METRICS[name](name) for name in config.eval.metrics]
        self._boxes = dataset.val.boxes() if dataset.detections is None else dataset.detections
        for scorer in self._metrics:
            scorer.check(dataset.val.ground_truth, dataset.skeleton, detected=dataset.detections is not None)

    def __call__(self, predict: PredictCrops) -> Evaluation:
        """Predicts the crops of all boxes with `predict`, and scores the predictions.

        Images that can't be decoded are left out.

        Raises:
            UserError: more than 1% of the images can't be decoded.
        """
        dataset, truth = self._dataset, self._dataset.val.ground_truth
        suppress = any(not metric.by_annotation for metric in self._metrics)
        sigmas = dataset.skeleton.sigmas if suppress else None
        results = coco_results(*self._predictions(predict), sigmas, soft_nms=self._config.eval.soft_nms)
        scores = score(self._metrics, truth, results, dataset.skeleton)
        return Evaluation(metrics=scores.values, results=results, ground_truth=truth, instances=scores.instances)

    def _predictions(self, predict: PredictCrops) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[SplitBox]]:
        """Points, joint scores, crop areas and boxes from all processes, in the order of the boxes."""
        dataset, boxes, crop = self._dataset, self._boxes, self._dataset.eval_crop
        guard = DamageGuard(dataset.val.n_images)
        part = jax.process_index(), jax.process_count()
        n_joints = dataset.skeleton.n_joints
        parts = [(np.zeros(0, np.int64), np.zeros((0, n_joints, 2)), np.zeros((0, n_joints)), np.zeros(0))]
        for batch in eval_batches(dataset.val, boxes, crop, self._config.eval.batch_size, guard, part):
            n = len(batch.rows)
            points, scores = (np.asarray(values, np.float64)[:n] for values in predict(batch.images))
            points, areas_px = from_crops(points, batch.matrices, crop.input_hw, udp=crop.udp)
            parts.append((batch.rows, points, scores, areas_px))
        rows, points, scores, areas_px = (gather(np.concatenate(column)) for column in zip(*parts, strict=True))
        order = np.argsort(rows)
        return points[order], scores[order], areas_px[order], [boxes[row] for row in rows[order]]
