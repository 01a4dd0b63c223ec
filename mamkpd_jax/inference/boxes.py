"""Bounding boxes of the people or animals in an image, and the interface of detectors."""

from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike

from mamkpd_jax.data.annotation_files import box_fault
from mamkpd_jax.errors import UserError

GREY = 114  # the padding of a letterboxed image


class Boxes(NamedTuple):
    """Boxes as x, y, width, height in pixels of the image, and their scores from 0 to 1."""

    xywh: Float[np.ndarray, "n 4"]
    scores: Float[np.ndarray, " n"]


@runtime_checkable
class Detector(Protocol):
    """Any function from an RGB image to boxes [n, 4] (x, y, width, height in pixels) and scores [n]."""

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], /) -> tuple[ArrayLike, ArrayLike]: ...


def whole_image(image: UInt8[np.ndarray, "h w 3"]) -> Boxes:
    """The whole image as one box with score 1: the detector for images of a single person or animal."""
    height, width = image.shape[:2]
    return Boxes(np.array([[0.0, 0.0, width, height]]), np.ones(1))


def letterbox(
    image: UInt8[np.ndarray, "h w 3"], output_hw: tuple[int, int], *, centred: bool = False
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], float, tuple[int, int]]:
    """The image, scaled to fit `output_hw` and padded with grey; the scale; and the pixels of padding left and above.

    The padding is on the right and at the bottom, or on both sides if `centred`.
    """
    scale = min(output_hw[0] / image.shape[0], output_hw[1] / image.shape[1])
    whole = round if centred else int  # as Ultralytics does, and as YOLOX and NanoDet do
    height, width = (max(1, whole(side * scale)) for side in image.shape[:2])
    top, left = ((output_hw[0] - height) // 2, (output_hw[1] - width) // 2) if centred else (0, 0)
    letter = np.full((*output_hw, 3), GREY, np.uint8)
    letter[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return letter, scale, (left, top)


def best_boxes(
    corners: Float[np.ndarray, "n 4"],
    scores: Float[np.ndarray, " n"],
    image_hw: tuple[int, int],
    *,
    threshold: float,
    nms_iou: float,
) -> Boxes:
    """A detector's boxes, cut at the image's edges, with a score of at least `threshold`.

    Args:
        corners: left, top, right and bottom in pixels of the image.
        nms_iou: of boxes with a larger IoU the best is kept.
    """
    height, width = image_hw
    corners = np.clip(corners, 0, [width, height, width, height])
    xywh = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
    kept = (scores >= threshold) & (xywh[:, 2:] > 0).all(axis=1)  # the padding gives boxes too
    xywh, scores = xywh[kept].astype(np.float64), scores[kept].astype(np.float64)
    kept = np.array(cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), 0.0, nms_iou), np.int64).reshape(-1)
    return Boxes(xywh[kept], scores[kept])


def as_boxes(xywh: ArrayLike, scores: ArrayLike | None = None) -> Boxes:
    """Boxes and scores as float64 arrays; every score is 1 if none are given.

    Raises:
        UserError: they are not numbers, or their shapes are not [n, 4] and [n].
    """
    try:
        boxes = np.asarray(xywh, np.float64)
        boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        box_scores = np.ones(boxes.shape[:1]) if scores is None else np.asarray(scores, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"the boxes are not numbers ({error}); expected x, y, width, height for each") from error
    if boxes.ndim != 2 or boxes.shape[1] != 4 or box_scores.shape != boxes.shape[:1]:
        raise UserError(
            f"the boxes have the shape {boxes.shape} and the scores {box_scores.shape}; expected [n, 4] (x, y, width, "
            "height in pixels) and [n]"
        )
    return Boxes(boxes, box_scores)


def valid_boxes(boxes: Boxes, image_hw: tuple[int, int], threshold: float) -> tuple[Boxes, tuple[str, ...]]:
    """The valid boxes with a score of at least `threshold`, and a reason for each invalid box with such a score."""
    rows, reasons = [], []
    for row in np.flatnonzero(~(boxes.scores < threshold)):
        reason = _fault(boxes.xywh[row], float(boxes.scores[row]), image_hw)
        if reason is None:
            rows.append(row)
        else:
            reasons.append(reason)
    return Boxes(boxes.xywh[rows], boxes.scores[rows]), tuple(reasons)


def _fault(box: Float[np.ndarray, "4"], score: float, image_hw: tuple[int, int]) -> str | None:
    """Why a box is invalid; None if it is valid."""
    if ((box[2:] > 0) & (box[2:] < 1)).all():
        text = ", ".join(f"{value:g}" for value in box)
        return f"the box ({text}) is smaller than a pixel; expected pixels, not fractions of the image's size"
    return box_fault(box.tolist(), score, image_hw)
