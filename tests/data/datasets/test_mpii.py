"""Tests of the builder of MPII, on real persons."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.data.annotation_files import read_mpii_truth
from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.mpii import Mpii
from mamkpd_jax.data.functional import warp_points
from mamkpd_jax.data.opening import open_dataset
from mamkpd_jax.data.source import InstanceSource
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.evaluator import Evaluator
from tests.data.places import data_at


@pytest.fixture
def root(mpii_root, tmp_path):
    """A copy of the data set that tests can change."""
    shutil.copytree(mpii_root, tmp_path / "mpii")
    return tmp_path / "mpii"


def test_validation_annotations_match_the_ground_truth(shared_data, root):
    """The file has 2,958 persons in 2,729 images. Each gets the head box and joints of its entry in gt_valid.mat."""
    for name, source in (("valid.json", "mpii_valid.json"), ("gt_valid.mat", "gt_valid.mat")):
        shutil.copyfile(shared_data / "mpii" / source, root / "annot" / name)
    by_image = Mpii(data_at(root, root / "build")).annotations("val")
    annotations = sorted((a for part in by_image.values() for a in part), key=lambda a: a["id"])
    assert (len(annotations), len(by_image)) == (2958, 2729)
    truth = read_mpii_truth(root / "annot" / "gt_valid.mat")
    joints = np.array([a["keypoints"] for a in annotations]).reshape(-1, 16, 3)
    np.testing.assert_array_equal(joints[..., 2] > 0, truth["visible"] > 0)
    difference = (joints[..., :2] + 1 - truth["joints"]) * truth["visible"][..., None]
    assert np.abs(difference).max() < 1e-4  # valid.json has four decimals
    np.testing.assert_array_equal([a["head_box"] for a in annotations], truth["head_box"])


def test_boxes_are_those_of_hrnet_unclipped(root, tmp_path):
    source = InstanceSource(prepare(Mpii(data_at(root, tmp_path / "build"))), "train")
    persons = {p["image"]: p for p in json.loads((root / "annot" / "train.json").read_bytes())}
    assert len(source) == len(persons) == 5
    for item in (source[i] for i in range(5)):
        person = persons[item["file_name"]]
        centre = np.array(person["center"]) + [0, 15 * person["scale"]] - 1
        np.testing.assert_allclose(item["bbox"][:2] + item["bbox"][2:] / 2, centre)
        np.testing.assert_allclose(item["bbox"][2:], 200 * person["scale"])
    assert any((source[i]["bbox"][:2] < 0).any() for i in range(5))


def test_labels_score_100_through_the_crops(root, tmp_path):
    """Pixels count from 0 in the records and from 1 in the file. An error of one pixel would show at 0.1 of a head."""
    data = DataConfig(dataset="mpii", root=str(root), build_dir=str(tmp_path / "build"), input_hw=(256, 256))
    config = Config(data=data, eval=EvalConfig(batch_size=100, metrics=("mpii",)))
    dataset = open_dataset(config)

    def labels(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = np.zeros((len(images), 16, 2))
        for i in range(len(dataset.val)):
            item = dataset.val[i]
            item["image"] = np.zeros((item["height_px"], item["width_px"], 3), np.uint8)
            points[i] = warp_points(item["keypoints"][:, :2], dataset.eval_crop(item)["matrix"])
        return points, np.ones((len(images), 16))

    values = Evaluator(dataset, config)(labels).metrics
    assert set(values.values()) == {100.0}


def test_unsupported_metrics_are_refused_before_prediction(root, tmp_path):
    data = DataConfig(dataset="mpii", root=str(root), build_dir=str(tmp_path / "build"), input_hw=(256, 256))
    config = Config(data=data, eval=EvalConfig(split="train", metrics=("mpii",)))
    with pytest.raises(UserError, match="names mpii, which needs 'head_box' in each annotation, and that of id 0"):
        Evaluator(open_dataset(config), config)


def _reverse(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes())[::-1]), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda root: (root / "annot" / "gt_valid.mat").unlink(), "gt_valid.mat is missing; give the folder"),
        (
            lambda root: (root / "annot" / "gt_valid.mat").write_bytes(b"no"),
            "gt_valid.mat can't be read .*expected a .mat",
        ),
        (lambda root: (root / "images" / "060754485.jpg").unlink(), "lacks 1 of the 5 .*060754485.jpg; copy"),
        (
            lambda root: (root / "annot" / "train.json").write_text("[{}]", encoding="utf-8"),
            "train.json: person 0 has no valid field",
        ),
        (
            lambda root: (root / "annot" / "valid.json").write_text("[]", encoding="utf-8"),
            r"has 0 persons and gt_valid.mat \d+",
        ),
        (
            lambda root: _reverse(root / "annot" / "valid.json"),
            r"valid.json: person 0 \(.*.jpg\) has other joints than person 0 of gt_valid.mat; .* in the same order",
        ),
    ],
)
def test_broken_files_give_one_line_and_leave_nothing(damage, line, root, tmp_path):
    damage(root)
    with pytest.raises(UserError, match=line) as caught:
        prepare(Mpii(data_at(root, tmp_path / "build")))
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "build").rglob("*") if path.is_file() and path.name != ".lock"] == []
