"""The crops of an image that the network takes, and its heatmaps of them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mamkpd_jax.inference.boxes import Boxes
from mamkpd_jax.inference.images import Image
from mamkpd_jax.inference.results import PoseResult


class Crops(NamedTuple):
    """The crops of an image, and where they are from."""

    images: UInt8[np.ndarray, "n h w 3"]
    matrices: Float[np.ndarray, "n 2 3"]  # from the image to the crop
    boxes: Boxes
    left_out: tuple[str, ...]  # what is wrong with boxes that have no crop
    image_hw: tuple[int, int]
    image: Image  # the path that it was read from, or its pixels


class CropHeatmaps(NamedTuple):
    """The poses of an image, and the crops and heatmaps that they are from."""

    result: PoseResult
    crops: UInt8[np.ndarray, "n h w 3"]
    heatmaps: Float[np.ndarray, "n h2 w2 j"]
