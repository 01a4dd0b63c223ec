"""The command that draws the training input."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np


def test_show_data_draws_joints_boxes_and_heatmaps(mpii_root, tmp_path):
    overrides = {
        "config": "mpii",
        "config.data.root": mpii_root,
        "config.data.build_dir": tmp_path / "build",
        "config.data.input_hw": "(64, 64)",
        "config.data.augmentation": "none",
        "output": tmp_path / "out",
    }
    command = [
        sys.executable,
        "-m",
        "mamkpd_jax",
        "show-data",
        *(f"--{name}={value}" for name, value in overrides.items()),
    ]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    picture = cv2.imread(str(tmp_path / "out" / "crops.png"))
    assert picture.shape == (2 * 128, 4 * 256, 3)  # five persons in rows of four pairs
    left, right = picture[:128, :128], picture[:128, 128:256]
    green = (left[..., 1] > left[..., 0] + 60.0) & (left[..., 1] > left[..., 2] + 60.0)
    assert green.sum() > 100, "the box"
    assert np.percentile(right.min(axis=2), 99) > 200, "joints shine"
