"""Tests of the report and its error analysis, on real images."""

import copy
import json
import re

import cv2
import numpy as np
import pytest

from mamkpd_jax.config import Config, DataConfig
from mamkpd_jax.data.opening import PoseData, open_dataset
from mamkpd_jax.evaluation import report
from mamkpd_jax.evaluation.evaluator import Evaluation
from mamkpd_jax.evaluation.metrics.coco import evaluate_coco
from mamkpd_jax.skeletons import COCO


@pytest.fixture(scope="module")
def dataset(shared_data, tmp_path_factory) -> PoseData:
    build_dir = tmp_path_factory.mktemp("build")
    return open_dataset(Config(data=DataConfig(root=str(shared_data / "coco"), build_dir=str(build_dir))))


@pytest.fixture(scope="module")
def evaluation(dataset) -> Evaluation:
    """An evaluation of perfect predictions for all persons but the small ones."""
    truth = dataset.val.ground_truth
    fields = ("image_id", "category_id", "keypoints")
    results = [
        {field: a[field] for field in fields} | {"score": 1.0}
        for a in truth["annotations"]
        if a["num_keypoints"] and a["area"] >= 32**2
    ]
    scores = evaluate_coco(truth, results, COCO)
    return Evaluation(metrics=scores.values, results=results, ground_truth=truth, instances=scores.instances)


def test_breakdown_counts_and_scores_instances_by_group(evaluation):
    parts = report.breakdown(evaluation)
    for groups in parts.values():
        assert sum(group["instances"] for group in groups.values()) == 512
    by_size = {name: group["mean_score"] for name, group in parts["by_size"].items()}
    assert by_size == {"small": 0.0, "medium": 1.0, "large": 1.0}
    labelled = [a["num_keypoints"] for a in evaluation.ground_truth["annotations"] if a["num_keypoints"]]
    assert parts["by_labelled_joints"]["up to 5"]["instances"] == sum(n <= 5 for n in labelled)
    assert parts["by_labelled_joints"]["above 15"]["instances"] == sum(n > 15 for n in labelled)


def test_a_report_has_its_four_files(evaluation, dataset, tmp_path):
    report.save(tmp_path, evaluation, dataset, step=7)
    content = json.loads((tmp_path / report.REPORT).read_bytes())
    assert content["step"] == 7 and content["coco/AP"] == evaluation.metrics["coco/AP"]
    assert content["by_size"] == report.breakdown(evaluation)["by_size"]
    assert json.loads((tmp_path / report.RESULTS).read_bytes()) == evaluation.results
    for name in (report.PICTURE, report.WORST):
        assert cv2.imread(str(tmp_path / name)).shape == (8 * 240, 2 * 640, 3)
    assert {path.name for path in tmp_path.iterdir()} == {
        report.REPORT,
        report.RESULTS,
        report.PICTURE,
        report.WORST,
    }


def test_the_table_has_every_value(evaluation):
    table = report.format_table(evaluation.metrics)
    assert table.splitlines()[0] == "coco" and "coco/oks" in table.splitlines()
    for name, value in evaluation.metrics.items():
        assert f"{name.rpartition('/')[2]:17} {value:7.3f}" in table
    assert np.max([len(line) for line in table.splitlines()]) <= 120


def test_table_explains_values_without_ground_truth(dataset):
    truth = dataset.val.ground_truth
    large = [copy.deepcopy(a) for a in truth["annotations"] if a["num_keypoints"] and a["area"] > 96**2]
    for annotation in large:
        annotation["keypoints"][2] = 0  # no nose is labelled
    fields = ("image_id", "category_id", "keypoints")
    results = [{field: a[field] for field in fields} | {"score": 1.0} for a in large]
    metrics = evaluate_coco({**truth, "annotations": large}, results, COCO).values
    assert metrics["coco/APM"] == metrics["coco/oks/nose"] == -1, "as report.json has them"
    lines = report.format_table(metrics).splitlines()
    shown = dict(re.findall(r"(\w+) +(-|\d\.\d{3})(?: |$)", "\n".join(lines), re.MULTILINE))
    assert {name for name, value in shown.items() if value == "-"} == {"APM", "ARM", "nose"} and len(shown) == 27
    rows = lines.index("coco/oks")
    assert lines[rows - 1].startswith("APM, ARM: no ground truth of this size (medium: 32 to 96 px, large: above; ")
    assert lines[-1] == "nose: no labelled ground truth"
