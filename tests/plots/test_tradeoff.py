"""The plot of accuracy, parameters and speed: measured points are the files', the paper's are told apart."""

import dataclasses
import json

import numpy as np
import pytest

from mamkpd_jax.config import Config
from mamkpd_jax.errors import UserError
from mamkpd_jax.model.mamkpd import variant

pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")

from mamkpd_jax.plots.tradeoff import PAPER, measured, tradeoff


@pytest.fixture
def report(tmp_path):
    """Writes a report as eval.py does."""

    def write(dataset="coco_keypoints"):
        config = Config(model=variant("small"))
        config.data.dataset = dataset
        path = tmp_path / "small_run" / "report.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            json.dumps({"step": 1, "config": dataclasses.asdict(config), "coco/AP": 0.652}), encoding="utf-8"
        )
        return path

    return write


@pytest.fixture
def bench(tmp_path):
    """A result as `bench export` writes it."""
    rows = [("jax", 1, 20.0), ("jax", 8, 48.0), ("onnxruntime", 8, 99.0)]
    content = {
        "environment": {"device": "a test's device"},
        "variant": "small",
        "rows": [{"contender": name, "batch": batch, "crops_per_s": speed} for name, batch, speed in rows],
    }
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def model_bench(tmp_path):
    """A result as `bench model` writes it: several variants and scans, and one that failed."""
    rows = [("small", "jax, sequential", 20.0), ("small", "jax, associative", 31.0), ("base", "jax, sequential", 70.0)]
    content = {
        "environment": {"device": "a test's device"},
        "rows": [{"model": name, "contender": how, "batch": 1, "crops_per_s": speed} for name, how, speed in rows]
        + [{"model": "small", "contender": "jax, associative", "batch": 8, "error": "too little memory"}],
    }
    path = tmp_path / "model.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_measured_point_is_where_its_files_say(report, bench):
    (own,) = measured([report()], [bench])
    assert own.point[:2] == ("small_run (small)", pytest.approx(65.2))
    assert own.point.params_m == pytest.approx(6.427122), "Small's parameters, as the complexity command prints them"
    assert own.point.images_per_s == 48.0, "the fastest batch of this package's own model"
    figure = tradeoff([own])
    offsets = [axes.collections[-1].get_offsets() for axes in figure.axes]
    np.testing.assert_allclose(offsets[0], [[6.427122, 65.2]])
    np.testing.assert_allclose(offsets[1], [[48.0, 65.2]])
    assert _legend(figure)[-1] == "small_run (small), measured, ground-truth boxes, speed on a test's device"


def test_a_model_without_a_measured_speed_is_placed_by_its_parameters_alone(report):
    figure = tradeoff(measured([report()], []))
    assert _legend(figure)[-1].endswith("speed not measured")
    assert [len(axes.collections[-1].get_offsets()) for axes in figure.axes] == [1, 0]


def test_with_nothing_measured_the_papers_points_stand_alone_and_the_legend_says_so():
    figure = tradeoff([])
    *papers, own = _legend(figure)
    assert own == "measured by this project: nothing was given"
    assert len(papers) == len(PAPER) and all(text.endswith("as the paper reports") for text in papers)
    assert all(not collection.get_facecolors().size for collection in figure.axes[0].collections), "nothing filled"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "is no JSON file of results"),
        ("[]", "is no report of eval.py by COCO's metric"),
        ('{"config": {"model": 3}, "coco/AP": 1}', "is no report of eval.py by COCO's metric"),
    ],
)
def test_files_of_another_form_are_refused(content, line, tmp_path):
    (tmp_path / "odd.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=line):
        measured([tmp_path / "odd.json"], [])


def test_the_speed_of_a_variant_is_that_of_its_fastest_scan(report, model_bench):
    (own,) = measured([report()], [model_bench])
    assert own.point.images_per_s == 31.0


def test_an_accuracy_on_other_data_can_not_stand_beside_the_papers(report, bench):
    with pytest.raises(UserError, match="is of synthetic_people; only accuracies on coco_keypoints"):
        measured([report("synthetic_people")], [bench])


def test_a_report_is_no_bench(report):
    with pytest.raises(UserError, match="is no result of `mamkpd bench model` or `bench export`"):
        measured([], [report()])
