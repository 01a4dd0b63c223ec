"""Top-down crops with augmentation, on top of the functions in `functional`.

The order is flip, half-body, then scale, rotation and shift in one warp, then erasing. The paper names flip, crop
(half-body), resize and rotation, but gives no numbers (sec. 4.1). Choice: the presets are those of MMPose and HRNet,
and "light" for runs of few epochs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mamkpd_jax.config import Config
from mamkpd_jax.data import functional as F
from mamkpd_jax.skeletons import Skeleton

_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
BOX_PADDING = 1.25  # a crop's width and height relative to its box, before one side grows to the input's aspect ratio
_HALF_BODY_PADDING = 1.5
# Choice: a smaller area than the 2 to 40% of random erasing (arXiv 1708.04896), so that most joints stay visible.
_ERASED_FRACTION, _ERASED_ASPECT = (0.02, 0.2), (0.3, 1 / 0.3)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Probabilities and strengths of the augmentations. Fields *_p are probabilities.

    Scale, shift and rotation vary by normal noise, cut at 1 sigma (rotation: at `rotation_cut` sigma).
    """

    flip_p: float = 0.5
    half_body_p: float = 0.3
    half_body_min_joints: int = 9  # labelled joints that an instance needs
    half_body_upper_p: float = 0.7  # probability of the upper half
    half_body_min_part: tuple[int, int] = (2, 3)  # labelled joints that the upper and the lower half need
    scale: float = 0.5  # sigma, relative to the crop's size
    rotation_deg: float = 80.0  # sigma
    rotation_cut: float = 1.0  # largest rotation in sigmas
    rotation_p: float = 0.6
    shift: float = 0.16  # sigma, relative to the padded box
    shift_p: float = 0.3
    redraw: bool = True  # redraw noise beyond the cut (a truncated normal distribution); False: clip it

    def half_body(
        self, joints: np.ndarray, skeleton: Skeleton, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The centre and size of the upper or lower body; None by chance, or if too few joints are labelled."""
        labelled = joints[:, 2] > 0
        # Choice: a skeleton with fewer joints needs more than half of them, like the 9 of 17 in the sources.
        few = skeleton.n_joints < self.half_body_min_joints
        needed = skeleton.n_joints // 2 + 1 if few else self.half_body_min_joints
        if labelled.sum() < needed or rng.random() >= self.half_body_p:
            return None
        halves = []
        for part, least in zip((skeleton.upper_body, skeleton.lower_body), self.half_body_min_part, strict=True):
            points = joints[[joint for joint in part if labelled[joint]], :2]
            halves.append((points.mean(axis=0), np.ptp(points, axis=0)) if len(points) >= least else None)
        upper, lower = halves
        first, second = (upper, lower) if rng.random() < self.half_body_upper_p else (lower, upper)
        half = first or second
        return None if half is None or min(half[1]) <= 0 else (half[0], half[1] * _HALF_BODY_PADDING)

    def has_half_bodies(self, skeleton: Skeleton) -> bool:
        """Whether a half of this skeleton has enough joints for `half_body`."""
        parts = zip((skeleton.upper_body, skeleton.lower_body), self.half_body_min_part, strict=True)
        return any(len(part) >= least for part, least in parts)

    def vary(
        self, centre: np.ndarray, size: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """A random variation of centre and size, and a random rotation in degrees."""

        def noise(n: int, cut: float = 1.0) -> np.ndarray:
            values = rng.standard_normal(n)
            while self.redraw and (beyond := np.abs(values) > cut).any():
                values[beyond] = rng.standard_normal(beyond.sum())
            return np.clip(values, -cut, cut)

        if rng.random() < self.shift_p:
            centre = centre + self.shift * noise(2) * size
        size = size * (1 + self.scale * noise(1)[0])
        if rng.random() >= self.rotation_p:
            return centre, size, 0.0
        return centre, size, float(self.rotation_deg * noise(1, self.rotation_cut)[0])


# Source: MMPose 1.3's td-hm configs, and the official HRNet repository (arXiv 1902.09212).
_MMPOSE = Augmentation()
_HRNET = Augmentation(
    half_body_upper_p=0.6915,  # probability that a standard normal value is below 0.5
    half_body_min_part=(3, 3),
    scale=0.35,
    rotation_deg=45.0,
    rotation_cut=2.0,
    shift_p=0.0,
    redraw=False,
)
PRESETS = {
    "mmpose": _MMPOSE,
    "hrnet": _HRNET,
    "mmpose_mpii": dataclasses.replace(_MMPOSE, half_body_p=0.0, shift_p=0.0),
    "hrnet_mpii": dataclasses.replace(_HRNET, half_body_p=0.0, scale=0.25, rotation_deg=30.0),
    "light": dataclasses.replace(_HRNET, half_body_p=0.15, scale=0.2, rotation_deg=15.0, shift=0.05, shift_p=0.3),
    "flip": Augmentation(half_body_p=0.0, scale=0.0, rotation_p=0.0, shift_p=0.0),
    "none": None,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TopDownCrop:
    """Makes the crop around an instance's box, with augmentation if `augmentation` or `erasing_p` is set.

    Input keys: image uint8 [h, w, 3], bbox [4] (x, y, width, height) and optionally keypoints [j, 3] (x, y,
    visibility).

    Output keys: image uint8 [input_hw, 3]; keypoints float32 [j, 2] and corners of the box float32 [4, 2], in pixels of
    the crop; visible float32 [j]; and matrix float64 [2, 3], the affine map to the crop from the image, or from its
    mirror image if the instance is flipped.
    """

    input_hw: tuple[int, int]
    skeleton: Skeleton
    augmentation: Augmentation | None = None
    erasing_p: float = 0.0
    udp: bool = False

    def __call__(self, instance: Mapping[str, Any], rng: np.random.Generator | None = None) -> dict[str, np.ndarray]:
        """The crop of an instance. An augmentation needs `rng`."""
        image, box = instance["image"], np.asarray(instance["bbox"], np.float64)
        joints = np.array(instance.get("keypoints", np.zeros((self.skeleton.n_joints, 3))), np.float64)
        corners, size, rotation_deg = box[:2] + _CORNERS * box[2:], box[2:] * BOX_PADDING, 0.0
        if self.augmentation is None:
            centre = corners.mean(axis=0)
        else:
            assert rng is not None
            if rng.random() < self.augmentation.flip_p:
                image, width = cv2.flip(image, 1), image.shape[1]
                corners = np.array([-1, 1]) * corners + np.array([width - 1, 0])
                joints = F.flip_points(joints, width, self.skeleton.flip_indices)
            part = self.augmentation.half_body(joints, self.skeleton, rng) or (corners.mean(axis=0), size)
            centre, size, rotation_deg = self.augmentation.vary(*part, rng)
        size = F.grow_to_aspect(size, self.input_hw)
        matrix = F.crop_matrix(centre, size, rotation_deg, self.input_hw, udp=self.udp)
        crop = F.warp_image(image, matrix, self.input_hw)
        if rng is not None and rng.random() < self.erasing_p:
            share, aspect = rng.uniform(*_ERASED_FRACTION), float(np.exp(rng.uniform(*np.log(_ERASED_ASPECT))))
            crop = F.erase(crop, share, aspect, rng.random(2), rng.integers(0, 256, 3))
        return {
            "image": crop,
            "keypoints": F.warp_points(joints[:, :2], matrix).astype(np.float32),
            "corners": F.warp_points(corners, matrix).astype(np.float32),
            "visible": (joints[:, 2] > 0).astype(np.float32),
            "matrix": matrix,
        }

    def of_boxes(
        self, image: UInt8[np.ndarray, "h w 3"], boxes: Float[np.ndarray, "n 4"]
    ) -> tuple[UInt8[np.ndarray, "n h2 w2 3"], Float[np.ndarray, "n 2 3"]]:
        """The crops around boxes of an image, and the affine maps from the image to them. Not for augmented crops."""
        examples = [self({"image": image, "bbox": box}) for box in boxes]
        images = np.array([example["image"] for example in examples], np.uint8)
        matrices = np.array([example["matrix"] for example in examples], np.float64)
        return images.reshape(-1, *self.input_hw, 3), matrices.reshape(-1, 2, 3)


def eval_crop_of(config: Config, skeleton: Skeleton) -> TopDownCrop:
    """The crop for evaluation and prediction, without augmentation."""
    height, width = config.data.input_hw
    return TopDownCrop(input_hw=(height, width), skeleton=skeleton, udp=config.head.udp)
