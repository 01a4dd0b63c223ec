"""Draws poses, heatmaps and contact sheets."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mamkpd_jax.skeletons import JOINT_THRESHOLD, Skeleton

# Okabe and Ito's palette, which colour-blind people can distinguish.
_MIDDLE = (240, 228, 66)
FAR_PX = 1e5  # beyond any image; OpenCV overflows at larger numbers
_COLOURS = {"left": (230, 159, 0), "right": (86, 180, 233), "": _MIDDLE}


def draw_pose(
    image: UInt8[np.ndarray, "h w 3"],
    keypoints: Float[np.ndarray, "j 3"],
    skeleton: Skeleton,
    *,
    threshold: float = JOINT_THRESHOLD,
    label: str = "",
) -> None:
    """Draws a pose on an RGB image, in place: left joints orange, right blue, the middle yellow.

    Args:
        keypoints: x, y in pixels, and a score or visibility; joints with at most `threshold` are not drawn.
        label: the text beside each joint: "score", "index" or none.
    """
    shown = keypoints[:, 2] > threshold
    colours = [_COLOURS[side] for side, _ in skeleton.meanings]
    thickness = max(1, round(max(image.shape) / 250))
    within = np.clip(np.nan_to_num(keypoints[:, :2]), -FAR_PX, FAR_PX)
    points = [(round(float(x)), round(float(y))) for x, y in within]
    for a, b in skeleton.edges:
        if shown[a] and shown[b]:
            colour = colours[a] if colours[a] == colours[b] else _MIDDLE
            cv2.line(image, points[a], points[b], colour, thickness, cv2.LINE_AA)
    for joint in np.flatnonzero(shown):
        cv2.circle(image, points[joint], thickness + 1, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(image, points[joint], thickness, colours[joint], -1, cv2.LINE_AA)
        if label:
            text = f"{keypoints[joint, 2]:.2f}" if label == "score" else str(joint)
            _write(image, text, (points[joint][0] + 2 * thickness, points[joint][1]))


def _write(image: UInt8[np.ndarray, "h w 3"], text: str, at: tuple[int, int]) -> None:
    """Writes white text with a black outline, which is legible on any background."""
    scale = max(0.35, max(image.shape) / 1500)
    stroke = max(1, round(1.5 * scale))
    for colour, thickness in (((0, 0, 0), stroke + 2), ((255, 255, 255), stroke)):
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)


def draw_region(
    image: UInt8[np.ndarray, "h w 3"],
    region: tuple[int, int, int, int],
    poses: Sequence[Sequence[int | float]],
    skeleton: Skeleton,
    *,
    height_px: int,
    threshold: float = JOINT_THRESHOLD,
    label: str = "",
) -> UInt8[np.ndarray, "{height_px} w2 3"]:
    """A region (left, top, right, bottom) of an image, clipped to the image and scaled, with poses drawn on it.

    Args:
        poses: in COCO's form, 3 numbers per joint: x, y in pixels of the image, and a score or visibility; joints with
            at most `threshold` are not drawn.
    """
    left, top, right, bottom = (max(0, side) for side in region)
    view = image[top:bottom, left:right]
    scale = height_px / view.shape[0]
    size = max(1, round(scale * view.shape[1])), height_px
    view = cv2.resize(view, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    for pose in poses:
        joints = (np.array(pose, np.float64).reshape(-1, 3) - [left, top, 0]) * [scale, scale, 1]
        draw_pose(view, joints, skeleton, threshold=threshold, label=label)
    return view


def draw_beside_truth(
    image: UInt8[np.ndarray, "h w 3"],
    region: tuple[int, int, int, int],
    labelled: Sequence[Sequence[int | float]],
    predicted: Sequence[Sequence[int | float]],
    skeleton: Skeleton,
    *,
    height_px: int,
    threshold: float = JOINT_THRESHOLD,
    label: str = "",
) -> UInt8[np.ndarray, "{height_px} w2 3"]:
    """The region twice, as `draw_region` gives it: the labelled poses on the left, the predicted ones on the right.

    `threshold` and `label` apply only to the predicted poses: every labelled joint is drawn.
    """
    left = draw_region(image, region, labelled, skeleton, height_px=height_px, threshold=0.0)
    right = draw_region(image, region, predicted, skeleton, height_px=height_px, threshold=threshold, label=label)
    return np.concatenate([left, right], axis=1)


def overlay_heatmap(
    image: UInt8[np.ndarray, "h w 3"], heatmap: Float[np.ndarray, "h2 w2"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The image, at half its brightness where the heatmap is 0 or less, white where it is 1 or more.

    A lightness scale is legible to colour-blind people and in print.
    """
    weight = cv2.resize(heatmap, image.shape[1::-1], interpolation=cv2.INTER_NEAREST).clip(0, 1)[..., None]
    return (image * 0.5 * (1 - weight) + 255 * weight).astype(np.uint8)


def contact_sheet(
    images: Sequence[UInt8[np.ndarray, "_h _w 3"]], *, tile_hw: tuple[int, int], columns: int
) -> UInt8[np.ndarray, "h w 3"]:
    """The images in rows of `columns`, each scaled to fit its tile and centred in it."""
    rows = math.ceil(len(images) / columns)
    height, width = tile_hw
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, image in enumerate(images):
        scale = min(height / image.shape[0], width / image.shape[1])
        h, w = (max(1, int(side * scale)) for side in image.shape[:2])
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        top, left = i // columns * height + (height - h) // 2, i % columns * width + (width - w) // 2
        sheet[top : top + h, left : left + w] = cv2.resize(image, (w, h), interpolation=interpolation)
    return sheet
