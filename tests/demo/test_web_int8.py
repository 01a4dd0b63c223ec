"""The web demo with a model in int8, in a real browser."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax import Predictor
from tests.browser import offline
from tests.demo.pages import NO_ADAPTER, choose, expect_found, watched
from tests.demo.web_demo import serve

__all__ = ["offline"]

pytest.importorskip("torch", reason="the extra `onnx` is not installed")

_ROOT = Path(__file__).parents[2]


def test_poses_in_int8_equal_the_predictors(offline, shared_data, tmp_path):
    folder, picture = tmp_path / "demo", shared_data / "coco_mini" / "000000000785.jpg"
    flags = ["--checkpoint=people", "--precision=int8", f"--calibration={shared_data / 'coco_mini'}"]
    command = [sys.executable, "-m", "mamkpd_jax", "export", "--web", f"--output={folder}", *flags]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(_ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0 and "calibration: 14 crops of 4 of 4 pictures" in done.stdout, done.stderr
    (expected,) = Predictor.from_pretrained(folder / "people.onnx")(picture, "nanodet")
    with serve(folder) as url, watched(offline, url, expected=NO_ADAPTER) as page:
        choose(page, picture)
        expect_found(page, len(expected.boxes))
        rows = [row.inner_text().split("\t")[1:] for row in page.locator("#joints tr").all()]
    found = np.array(rows, np.float64)
    # onnxruntime-web's convolutions round differently, so a value may fall on the next int8 step.
    np.testing.assert_allclose(found[:, 2], expected.scores[0], atol=0.03)
    assert np.median(np.linalg.norm(found[:, :2] - expected.keypoints[0], axis=1)) < 0.5
