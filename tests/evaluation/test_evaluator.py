"""Tests of the evaluator on real images, with simple predictors in place of a model."""

import json
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO as CocoFile
from pycocotools.cocoeval import COCOeval

from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.data import pipeline
from mamkpd_jax.data.functional import decode_image, warp_points
from mamkpd_jax.data.opening import PoseData, open_dataset
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation import report
from mamkpd_jax.evaluation.evaluator import Evaluator
from mamkpd_jax.evaluation.scores import score_files
from mamkpd_jax.skeletons import COCO


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("build")


def _config(shared_data, build_dir, detections: str = "") -> Config:
    data = DataConfig(root=str(shared_data / "coco"), build_dir=str(build_dir), input_hw=(64, 48))
    return Config(data=data, eval=EvalConfig(batch_size=100, detections=detections))


def _labels_in_crops(dataset: PoseData):
    """A predictor that returns the labels. It relies on the order of the crops, that of the split."""
    place = iter(range(10**6))

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points, scores = np.zeros((len(images), 17, 2)), np.zeros((len(images), 17))
        for row in range(len(images)):
            item = dataset.val[min(next(place), len(dataset.val) - 1)]
            item["image"] = np.zeros((item["height_px"], item["width_px"], 3), np.uint8)
            matrix, labelled = dataset.eval_crop(item)["matrix"], item["keypoints"][:, 2:] > 0
            # Unlabelled joints are at the box's corner. All at 0, they would make different poses nearly equal.
            points[row] = warp_points(np.where(labelled, item["keypoints"][:, :2], item["bbox"][:2]), matrix)
            scores[row] = labelled[:, 0]
        return points, scores

    return predict


def test_the_labels_score_one_through_the_crops(shared_data, build_dir):
    config = _config(shared_data, build_dir)
    dataset = open_dataset(config)
    evaluation = Evaluator(dataset, config)(_labels_in_crops(dataset))
    assert evaluation.metrics["coco/AP"] == pytest.approx(1.0, abs=1e-9)
    assert len(evaluation.results) == 512


def _first_pose_everywhere(dataset: PoseData):
    """A predictor that returns the first labelled pose of an image for each of its boxes."""
    first, place = {}, iter(range(10**6))

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = np.zeros((len(images), 17, 2))
        for row in range(len(images)):
            item = dataset.val[min(next(place), len(dataset.val) - 1)]
            pose = first.setdefault(item["image_id"], item["keypoints"][:, :2])
            item["image"] = np.zeros((item["height_px"], item["width_px"], 3), np.uint8)
            points[row] = warp_points(pose, dataset.eval_crop(item)["matrix"])
        return points, np.full((len(images), 17), 0.5)

    return predict


def _pycocotools_ap(annotations: Path, results: Path) -> float:
    data = CocoFile(str(annotations))
    evaluation = COCOeval(data, data.loadRes(str(results)), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0])


def test_equal_poses_in_ground_truth_boxes_are_suppressed(tiny, coco_mini_root, tmp_path):
    """PCK scores the poses of all 12 annotations, and AP the 4 that NMS keeps. The results file gives both again."""
    tiny.eval.metrics = ("pck_box@0.1", "coco")
    dataset = open_dataset(tiny)
    evaluation = Evaluator(dataset, tiny)(_first_pose_everywhere(dataset))
    assert len(evaluation.results) == 4 and len(evaluation.instances) == 12
    assert sorted(evaluation.instances.values())[-4:] == [1.0] * 4
    path, annotations = tmp_path / "results.json", coco_mini_root / "annotations" / "person_keypoints_val2017.json"
    path.write_text(json.dumps(evaluation.results), encoding="utf-8")
    assert score_files(tiny.eval.metrics, path, annotations, COCO).values == evaluation.metrics
    assert _pycocotools_ap(annotations, path) == evaluation.metrics["coco/AP"] > 0


def test_pck_alone_keeps_every_pose(tiny):
    tiny.eval.metrics = ("pck_box@0.1",)
    dataset = open_dataset(tiny)
    results = Evaluator(dataset, tiny)(_first_pose_everywhere(dataset)).results
    assert len(results) == 12 and not any("suppressed" in result for result in results)


def test_each_image_is_decoded_once(tiny, monkeypatch):
    """The 12 persons in the four images make three batches."""
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

    assert Evaluator(dataset, tiny)(predict).results
    assert len(decoded) == len(set(decoded)) == 4 and sizes == [4, 4, 4]


# Process i of 3 evaluates on detections. Arguments: HOST:PORT, i, image root, build folder, detections file.
_PROCESS = """
import json, sys
import jax
jax.distributed.initialize(sys.argv[1], 3, int(sys.argv[2]))
from tests.evaluation.test_evaluator import results_by_pixels
print(json.dumps(results_by_pixels(*sys.argv[3:])))
"""


def results_by_pixels(root: str, build_dir: str, detections: str) -> list[dict]:
    """The results of a predictor whose points depend on the pixels of the crop."""
    data = DataConfig(root=root, build_dir=build_dir, input_hw=(64, 48))
    config = Config(data=data, eval=EvalConfig(batch_size=4, detections=detections))

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        generators = [np.random.default_rng(zlib.crc32(image.tobytes())) for image in images]
        return np.array([g.uniform(0, 48, (17, 2)) for g in generators]), np.full((len(images), 17), 0.5)

    return Evaluator(open_dataset(config), config)(predict).results


def test_several_processes_give_the_same_results(coco_mini_root, build_dir, tmp_path):
    """Only two of the four images have boxes, so the third process has none."""
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


@pytest.mark.parametrize("detections", [[], [{"image_id": 785, "category_id": 1, "bbox": [5, 5, 0, 0], "score": 0.9}]])
def test_no_detection_scores_zero(detections, tiny, tmp_path):
    (tmp_path / "boxes.json").write_text(json.dumps(detections), encoding="utf-8")
    tiny.eval.detections = str(tmp_path / "boxes.json")
    dataset = open_dataset(tiny)
    evaluation = Evaluator(dataset, tiny)(_first_pose_everywhere(dataset))
    assert evaluation.results == [] and evaluation.metrics["coco/AP"] == evaluation.metrics["coco/AR"] == 0
    report.save(tmp_path, evaluation, dataset)
    assert json.loads((tmp_path / "report.json").read_bytes())["poses"] == 0


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
