"""The evaluator on real images: what an ideal predictor scores through crops and back."""

import json
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.data import pipeline
from mamkpd_jax.data.functional import decode_image, warp_points
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


def test_each_image_is_decoded_once(tiny, monkeypatch):
    """The 12 persons of the four images are in three batches."""
    decoded = []

    def counted(data: bytes, *, upright: bool) -> np.ndarray:
        decoded.append(data)
        return decode_image(data, upright=upright)

    dataset = open_dataset(tiny)
    tiny.eval.batch_size = 4
    monkeypatch.setattr(pipeline, "decode_image", counted)
    sizes = []

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(len(images))
        return np.zeros((len(images), 17, 2)), np.ones((len(images), 17))

    assert len(Evaluator(dataset, tiny)(predict).results) == 12
    assert len(decoded) == len(set(decoded)) == 4 and sizes == [4, 4, 4]


# Process i of 3 evaluates on detections: HOST:PORT, i, image root, build folder, detections.
_PROCESS = """
import json, sys
import jax
jax.distributed.initialize(sys.argv[1], 3, int(sys.argv[2]))
from tests.evaluation.test_evaluator import results_by_pixels
print(json.dumps(results_by_pixels(*sys.argv[3:])))
"""


def results_by_pixels(root: str, build_dir: str, detections: str) -> list[dict]:
    """The results of a predictor whose points depend on the crop's pixels."""
    data = DataConfig(root=root, build_dir=build_dir, input_hw=(64, 48))
    config = Config(data=data, eval=EvalConfig(batch_size=4, detections=detections))

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        generators = [np.random.default_rng(zlib.crc32(image.tobytes())) for image in images]
        return np.array([g.uniform(0, 48, (17, 2)) for g in generators]), np.full((len(images), 17), 0.5)

    return Evaluator(open_dataset(config), config)(predict).results


def test_several_processes_gather_the_results_of_one(coco_mini_root, build_dir, tmp_path):
    """The boxes are of two of the four images, so the third process has none."""
    annotations = json.loads((coco_mini_root / "annotations" / "person_keypoints_val2017.json").read_bytes())
    first, *_, last = annotations["images"]
    boxes = [{"image_id": first["id"], "category_id": 1, "bbox": [i, 0, 90, 90], "score": 0.9} for i in range(5)]
    boxes.insert(2, boxes[0] | {"image_id": last["id"]})
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(boxes), encoding="utf-8")
    arguments = str(coco_mini_root), str(build_dir), str(path)
    expected = results_by_pixels(*arguments)
    assert len(expected) == 6
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, f"localhost:{port}", str(i), *arguments],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(3)
    ]
    for process in processes:
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0 and json.loads(printed.splitlines()[-1]) == expected


def test_detected_boxes_are_scored_with_their_scores(shared_data, build_dir, tmp_path):
    config = _config(shared_data, build_dir)
    truth = open_dataset(config).val.ground_truth
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
