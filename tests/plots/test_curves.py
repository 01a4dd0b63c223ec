"""Training curves show the values of the log."""

import json
import math

import numpy as np
import pytest

from mamkpd_jax.errors import UserError

pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")

from mamkpd_jax.plots.curves import curves, read_metrics


def _write(folder, records, tail=""):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text(
        "".join(f"{json.dumps(record)}\n" for record in records) + tail, encoding="utf-8"
    )
    return folder


def _train(step, loss):
    return {"step": step, "epoch": step / 10, "time_s": 1.0, "train/loss": loss, "train/learning_rate": 1e-3}


def test_each_metric_has_a_panel_with_all_runs(tmp_path):
    evaluation = {"step": 20, "epoch": 2.0, "eval/coco/AP": 0.5, "eval/coco/AP50": 0.8}
    one = _write(tmp_path / "one", [_train(10, 0.4), _train(20, 0.2), evaluation])
    two = _write(tmp_path / "two", [_train(10, 0.5), {"step": 10, "epoch": 1.0, "eval/pck_box@0.1/mean": 30.0}])
    figure = curves({"one": read_metrics(one), "two": read_metrics(two)})
    lines = {axes.get_title(): {line.get_label(): line for line in axes.get_lines()} for axes in figure.axes}
    assert list(lines) == ["train/loss", "train/learning_rate", "eval/coco/AP", "eval/pck_box@0.1/mean"]
    np.testing.assert_array_equal(lines["train/loss"]["one"].get_xydata(), [[10, 0.4], [20, 0.2]])
    np.testing.assert_array_equal(lines["train/loss"]["two"].get_xydata(), [[10, 0.5]])
    np.testing.assert_array_equal(lines["eval/coco/AP"]["one"].get_xydata(), [[20, 0.5]])
    np.testing.assert_array_equal(lines["eval/pck_box@0.1/mean"]["two"].get_xydata(), [[10, 30.0]])


def test_repeated_steps_and_incomplete_last_line(tmp_path):
    records = [_train(10, 0.4), _train(20, 0.9), _train(10, 0.3)]
    series = read_metrics(_write(tmp_path, records, tail='{"step": 30, "train/lo'))
    assert series["train/loss"] == {10: 0.3, 20: 0.9}


def test_nan_is_a_marked_gap(tmp_path):
    series = read_metrics(_write(tmp_path, [_train(10, 0.4), _train(20, math.nan), _train(30, 0.3)]))
    curve, mark = curves({"run": series}).axes[0].get_lines()
    np.testing.assert_array_equal(curve.get_ydata(), [0.4, np.nan, 0.3])
    assert list(mark.get_xdata()) == [20, 20]


def test_unreadable_log_is_named(tmp_path):
    with pytest.raises(UserError, match="metrics.jsonl can't be read.*give the directory of a training run"):
        read_metrics(tmp_path)
    with pytest.raises(UserError, match="metrics.jsonl, line 1: not the record of a step"):
        read_metrics(_write(tmp_path, [["step"], _train(10, 0.4)]))
    with pytest.raises(UserError, match="has no metrics yet"):
        read_metrics(_write(tmp_path, []))
