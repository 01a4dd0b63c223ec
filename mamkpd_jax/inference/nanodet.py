"""NanoDet-g, the detector that comes with the package, run by OpenCV's dnn module.

Source: RangiLyu/nanodet; mamkpd_jax/weights/NOTICE has the origin of the weights.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mamkpd_jax.errors import UserError
from mamkpd_jax.files import check_digest
from mamkpd_jax.inference.boxes import GREY, Boxes, best_boxes, letterbox
from mamkpd_jax.inference.detector_classes import N_COCO

FILE = Path(__file__).parents[1] / "weights" / "nanodet_g.onnx"
SHA256 = "c74f86b207db2d0ca265e25b0f93316bba878aea06cef739cdcdde67d1d253e4"
_SIDE = 416
_STRIDES = (8, 16, 32)
_BINS = 11  # a side's distance from a cell's centre is a distribution over 0 to 10 strides
_THRESHOLD = 0.29
_NMS_IOU = 0.45  # Choice: NanoDet's default of 0.6 leaves seven times as many duplicate boxes of people
_MEAN, _STD = np.array([[103.53, 116.28, 123.675], [57.375, 57.12, 58.395]], np.float32)  # of BGR


def parameters() -> dict[str, Any]:
    """The parameters that another program needs to run the file as `NanoDet` does, in JSON's types."""
    return {
        "side": _SIDE,
        "strides": _STRIDES,
        "bins": _BINS,
        "grey": GREY,
        "mean": _MEAN.tolist(),
        "std": _STD.tolist(),
        "threshold": _THRESHOLD,
        "nms_iou": _NMS_IOU,
    }


class NanoDet:
    """Detects objects of COCO's 80 classes, such as people and animals. Threads may share it.

    Args:
        classes: indices of the classes to detect. Of overlapping boxes the best is kept, even across classes.
        threshold: boxes with a lower score are left out.

    Raises:
        UserError: a class is not in COCO, or the package's file is damaged.
    """

    def __init__(self, classes: Sequence[int], *, threshold: float = _THRESHOLD):
        if not classes or not set(classes) <= set(range(N_COCO)):
            raise UserError(f"the classes are {list(classes)}; expected some of 0 to {N_COCO - 1}")
        self._classes = list(classes)
        self._threshold = threshold
        check_digest(FILE, SHA256, "install mamkpd_jax again")
        self._net: Any = cv2.dnn.readNetFromONNX(np.frombuffer(FILE.read_bytes(), np.uint8))
        self._lock = threading.Lock()

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Boxes:
        letter, scale, _ = letterbox(image, (_SIDE, _SIDE))
        pixels = (letter[:, :, ::-1] - _MEAN) / _STD
        with self._lock:  # the net stores its input and outputs
            self._net.setInput(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None])
            outputs = self._net.forward(sorted(self._net.getUnconnectedOutLayersNames()))
        n = len(_STRIDES)
        scores = np.concatenate([level[0][:, self._classes].max(axis=1) for level in outputs[:n]])
        corners = np.concatenate(
            [_corners(level[0], stride) for level, stride in zip(outputs[n:], _STRIDES, strict=True)]
        )
        return best_boxes(corners / scale, scores, image.shape[:2], threshold=self._threshold, nms_iou=_NMS_IOU)


def _corners(distances: Float[np.ndarray, "n 44"], stride: int) -> Float[np.ndarray, "n 4"]:
    """Left, top, right and bottom of each cell's box in pixels, the cells row by row."""
    side = _SIDE // stride
    rows, columns = np.mgrid[:side, :side].reshape(2, -1)
    centres = np.column_stack([columns, rows]) + 0.5
    weights = np.exp(distances.reshape(-1, 4, _BINS))
    means = weights @ np.arange(_BINS) / weights.sum(axis=-1)
    return np.column_stack([centres - means[:, :2], centres + means[:, 2:]]) * stride
