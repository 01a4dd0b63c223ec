"""The picture of what the network is fed."""

import cv2
import numpy as np

from mamkpd_jax.config import Config, DataConfig
from mamkpd_jax.show_data import show_data


def test_show_data_draws_crops_with_joints_boxes_and_heatmaps(mpii_root, tmp_path):
    data = DataConfig(
        dataset="mpii",
        root=str(mpii_root),
        build_dir=str(tmp_path / "build"),
        input_hw=(64, 64),
        augmentation="none",
    )
    picture = cv2.imread(str(show_data(Config(data=data), tmp_path / "out")))
    assert picture.shape == (2 * 128, 4 * 256, 3)  # five persons in rows of four pairs
    left, right = picture[:128, :128], picture[:128, 128:256]
    green = (left[..., 1] > left[..., 0] + 60.0) & (left[..., 1] > left[..., 2] + 60.0)
    assert green.sum() > 100, "the box"
    assert np.percentile(right.min(axis=2), 99) > 200, "joints shine"
