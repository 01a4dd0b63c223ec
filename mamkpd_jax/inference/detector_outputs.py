"""The outputs of detectors in ONNX files: their form, and the boxes in them.

Source: YOLOX, arXiv 2107.08430, and its ONNX demo; RTMDet, arXiv 2212.07784, and MMDeploy; the formats that Ultralytics
documents for YOLO.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

YOLOX, RTMDET, YOLO = FAMILIES = ("yolox", "rtmdet", "yolo")
EXPECTED = (
    "expected one image [1, 3, h, w], and the output of YOLO or YOLOX (boxes with class scores) or of RTMDet (dets and "
    "labels)"
)
_STRIDES = (8, 16, 32)
_STRIDES_OF_YOLO = (_STRIDES, (4, *_STRIDES), (*_STRIDES, 64))
_ANCHORS = 3  # per cell, in YOLOv5 and YOLOv7
_LARGEST_LOG = 8.0  # 3,000 cells
# Source: the default values of Ultralytics and of YOLOX's demo. Files that suppress boxes do so in each class.
_NMS_IOU, _NMS_IOU_OF_YOLOX = 0.7, 0.45


class Found(NamedTuple):
    """Boxes before the threshold: left, top, right and bottom in pixels of the input, scores, and class indices."""

    corners: Float[np.ndarray, "n 4"]
    scores: Float[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Form:
    """A form of a detector's outputs.

    Attributes:
        family: the member of FAMILIES that decides how images are prepared.
        n_classes: the number of classes; None: the outputs do not show it.
        nms_iou: of boxes of any selected class with a larger IoU the best is kept.
        found: the boxes in the outputs for an image of this height and width in pixels. Of a box with a score for each
            class the best counts.
    """

    family: str
    n_classes: int | None
    nms_iou: float
    found: Callable[[Sequence[np.ndarray], tuple[int, int]], Found]


def form_of(outputs: Sequence[np.ndarray], input_hw: tuple[int, int], family: str | None) -> Form | None:
    """The form of a file's outputs for one image; None if it is unknown.

    Args:
        family: a member of FAMILIES, or None for any. A YOLOX with RTMDet's two outputs needs it.
    """
    cells = _n_cells(input_hw, _STRIDES)
    cells_of_yolo = {_n_cells(input_hw, strides) for strides in _STRIDES_OF_YOLO}
    rows_of_yolo = {_ANCHORS * n for n in cells_of_yolo} | cells_of_yolo
    match [getattr(output, "shape", None) for output in outputs]:  # an output may be a list
        case [(1, n, 5), (1, labels)] if n == labels and family != YOLO:
            return Form(family or RTMDET, None, _NMS_IOU, _dets_and_labels)
        case [(1, n, channels)] if n == cells and channels > 5 and (family or _family_of(outputs[0])) == YOLOX:
            return Form(YOLOX, channels - 5, _NMS_IOU_OF_YOLOX, _grids)
        case [(1, n, channels)] if n in rows_of_yolo and channels > 5 and family in (None, YOLO):
            return Form(YOLO, channels - 5, _NMS_IOU, _rows)
        case [(1, channels, n)] if n in cells_of_yolo and channels > 4 and family in (None, YOLO):
            return Form(YOLO, channels - 4, _NMS_IOU, _columns)
        case [(1, _, 6)] if family in (None, YOLO) and _has_corners(outputs[0]):
            return Form(YOLO, None, _NMS_IOU, _final_rows)
    return None


def _family_of(output: np.ndarray) -> str:
    """YOLOX if the sizes may be logarithmic; YOLOv6 has the same shape and sizes in pixels, some large in any image."""
    return YOLOX if output[..., 2:4].max() < _LARGEST_LOG else YOLO


def _has_corners(output: np.ndarray) -> bool:
    """Whether rows may have corners and a label. RT-DETR's have centres and sizes, as have those of one class."""
    rows = output[0]
    return bool((rows[:, 2:4] >= rows[:, :2]).all() and (rows[:, 5] == np.rint(rows[:, 5])).all())


def _dets_and_labels(outputs: Sequence[np.ndarray], input_hw: tuple[int, int]) -> Found:
    """RTMDet: corners and score [1, n, 5], and labels [1, n]."""
    return Found(outputs[0][0, :, :4], outputs[0][0, :, 4], outputs[1][0])


def _final_rows(outputs: Sequence[np.ndarray], input_hw: tuple[int, int]) -> Found:
    """YOLOv10, YOLO26, and YOLO exported with nms=True: corners, score and label [1, n, 6]."""
    rows = outputs[0][0]
    return Found(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))


def _columns(outputs: Sequence[np.ndarray], input_hw: tuple[int, int]) -> Found:
    """YOLOv8 to 12, and 26: centre, size and class scores [1, 4 + classes, n]."""
    columns = outputs[0][0].T
    return _best_class(columns[:, :2], columns[:, 2:4], columns[:, 4:])


def _rows(outputs: Sequence[np.ndarray], input_hw: tuple[int, int]) -> Found:
    """YOLOv5 to 7: centre, size, objectness and class scores [1, n, 5 + classes]."""
    rows = outputs[0][0]
    return _best_class(rows[:, :2], rows[:, 2:4], rows[:, 4:5] * rows[:, 5:])


def _grids(outputs: Sequence[np.ndarray], input_hw: tuple[int, int]) -> Found:
    """YOLOX: as `_rows`, but the centres are relative to cells and the sizes logarithmic, both in strides."""
    rows = outputs[0][0].astype(np.float64)
    cells, strides = [], []
    for stride in _STRIDES:  # grid by grid, each in row-major order
        y, x = np.mgrid[: input_hw[0] // stride, : input_hw[1] // stride].reshape(2, -1)
        cells.append(np.column_stack([x, y]))
        strides.append(np.full((len(x), 1), stride))
    stride = np.concatenate(strides)
    centres, sizes = (rows[:, :2] + np.concatenate(cells)) * stride, np.exp(rows[:, 2:4]) * stride
    return _best_class(centres, sizes, rows[:, 4:5] * rows[:, 5:])


def _best_class(centres: np.ndarray, sizes: np.ndarray, scores: np.ndarray) -> Found:
    labels = scores.argmax(axis=1)
    return Found(
        np.column_stack([centres - sizes / 2, centres + sizes / 2]), scores[np.arange(len(labels)), labels], labels
    )


def _n_cells(input_hw: tuple[int, int], strides: Sequence[int]) -> int:
    return sum((input_hw[0] // stride) * (input_hw[1] // stride) for stride in strides)
