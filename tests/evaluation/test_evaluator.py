"""The evaluator on real images: what an ideal predictor scores through crops and back."""

import json

import numpy as np
import pytest

from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.data.functional import warp_points
from mamkpd_jax.data.opening import PoseData, open_dataset
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.evaluator import Evaluator


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("build")


def _config(shared_data, build_dir, detections: str = "") -> Config:
    data = DataConfig(root=str(shared_data / "coco"), build_dir=str(build_dir), input_hw=(64, 48))
    return Config(data=data, eval=EvalConfig(batch_size=100, detections=detections))


def _labels_in_crops(dataset: PoseData):
    """A predictor that knows the labels: crops come in the order of the split, the last batch padded."""
    place = iter(range(10**6))

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points, scores = np.zeros((len(images), 17, 2)), np.zeros((len(images), 17))
        for row in range(len(images)):
            item = dataset.val[min(next(place), len(dataset.val) - 1)]
            item["image"] = np.zeros((item["height_px"], item["width_px"], 3), np.uint8)
            matrix = dataset.eval_crop(item)["matrix"]
            points[row] = warp_points(item["keypoints"][:, :2], matrix)
            scores[row] = item["keypoints"][:, 2] > 0
        return points, scores

    return predict


def test_the_labels_score_one_through_the_crops(shared_data, build_dir):
    config = _config(shared_data, build_dir)
    dataset = open_dataset(config)
    evaluation = Evaluator(dataset, config)(_labels_in_crops(dataset))
    assert evaluation.metrics["coco/AP"] == pytest.approx(1.0, abs=1e-9)
    assert len(evaluation.results) == 512


def test_detected_boxes_are_scored_with_their_scores(shared_data, build_dir, tmp_path):
    config = _config(shared_data, build_dir)
    truth = open_dataset(config).val.ground_truth()
    boxes = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": score}
        for a in truth["annotations"][:20]
        for score in (0.9, 0.3)
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(boxes), encoding="utf-8")
    config = _config(shared_data, build_dir, str(path))

    def centre(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = np.random.default_rng(0).uniform(0, 48, (1, 17, 2))
        return np.repeat(points, len(images), axis=0), np.full((len(images), 17), 0.5)

    dataset = open_dataset(config)
    results = Evaluator(dataset, config)(centre).results
    assert {result["score"] for result in results} == {0.45}, "the second pose of each box is suppressed"
    assert len(results) <= 20
    config.eval.metrics = ("pck_torso@0.2",)
    with pytest.raises(UserError, match="pck_torso@0.2, which needs ground-truth boxes; leave config.eval.detections"):
        Evaluator(dataset, config)
