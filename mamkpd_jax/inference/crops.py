"""The crops of an image, which are the network's input, and their heatmaps."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mamkpd_jax.inference.boxes import Boxes
from mamkpd_jax.inference.images import Image
from mamkpd_jax.inference.results import PoseResult


class Crops(NamedTuple):
    """The crops of an image, and the boxes that they were cut from."""

    images: UInt8[np.ndarray, "n h w 3"]
    matrices: Float[np.ndarray, "n 2 3"]  # affine, from pixels of the image to pixels of the crop
    boxes: Boxes
    left_out: tuple[str, ...]  # a reason for each box without a crop
    image_hw: tuple[int, int]
    image: Image  # the path that it was read from, or its pixels


class CropHeatmaps(NamedTuple):
    """The poses of an image, with their crops and heatmaps."""

    result: PoseResult
    crops: UInt8[np.ndarray, "n h w 3"]
    heatmaps: Float[np.ndarray, "n h2 w2 j"]
