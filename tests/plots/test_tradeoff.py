"""The plot of accuracy, parameters and speed: measured points match their files and differ from the paper's."""

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
    """A function that writes a report as eval.py does."""

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
    """A result file like those of `mamkpd bench export-speed`."""
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
    """A result file like those of `mamkpd bench model`, with several variants and scans, and a failed row."""
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


def test_measured_point_matches_its_files(report, bench):
    (own,) = measured([report()], [bench])
    assert own.point[:2] == ("small_run (small)", pytest.approx(65.2))
    assert own.point.params_m == pytest.approx(6.427122), "Small's parameters, as `mamkpd complexity` prints them"
    assert own.point.images_per_s == 48.0, "the fastest batch size in JAX"
    figure = tradeoff([own])
    offsets = [axes.collections[-1].get_offsets() for axes in figure.axes]
    np.testing.assert_allclose(offsets[0], [[6.427122, 65.2]])
    np.testing.assert_allclose(offsets[1], [[48.0, 65.2]])
    assert _legend(figure)[-1] == "small_run (small), measured, ground-truth boxes, speed on a test's device"


def test_point_without_speed_is_in_one_panel(report):
    figure = tradeoff(measured([report()], []))
    assert _legend(figure)[-1].endswith("speed not measured")
    assert [len(axes.collections[-1].get_offsets()) for axes in figure.axes] == [1, 0]


def test_without_reports_the_legend_shows_none_given():
    figure = tradeoff([])
    *papers, own = _legend(figure)
    assert own == "measured by this project: no reports given"
    assert len(papers) == len(PAPER) and all(text.endswith("as the paper reports") for text in papers)
    assert all(not collection.get_facecolors().size for collection in figure.axes[0].collections), "no filled marker"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "is not a JSON result file"),
        ("[]", "is no eval.py report with COCO's metric"),
        ('{"config": {"model": 3}, "coco/AP": 1}', "is no eval.py report with COCO's metric"),
    ],
)
def test_files_of_another_format_are_refused(content, line, tmp_path):
    (tmp_path / "odd.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=line):
        measured([tmp_path / "odd.json"], [])


def test_speed_is_that_of_the_fastest_scan(report, model_bench):
    (own,) = measured([report()], [model_bench])
    assert own.point.images_per_s == 31.0


def test_report_on_another_data_set_is_refused(report, bench):
    with pytest.raises(UserError, match="is on synthetic_people; give a report on coco_keypoints"):
        measured([report("synthetic_people")], [bench])


def test_report_as_benchmark_is_refused(report):
    with pytest.raises(UserError, match="is not a result of `mamkpd bench model` or `mamkpd bench export-speed`"):
        measured([], [report()])
