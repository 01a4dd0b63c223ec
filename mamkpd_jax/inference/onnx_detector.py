"""Runs detectors from ONNX files that have the outputs of YOLOX or RTMDet, in onnxruntime (the extra `onnx`).

The user supplies the files; docs/predict.md links to common ones. Both take a letterboxed BGR image [1, 3, h, w].
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import Boxes, letterbox
from mamkpd_jax.inference.onnx_session import open_session

FORMS = ("auto", "yolox", "rtmdet")
_STRIDES = (8, 16, 32)
_NMS_IOU = 0.45
_DYNAMIC_HW = (640, 640)  # for a file without a fixed size
# For BGR. Source: MMDetection's RTMDet configs. YOLOX takes values from 0 to 255.
_RTMDET_MEAN, _RTMDET_STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


class OnnxDetector:
    """A detector from an ONNX file.

    YOLOX's output is one tensor [1, n, 5 + classes]: centre and logarithmic size on the grids of strides 8, 16 and 32,
    objectness, and class scores. RTMDet, as MMDeploy exports it, has two outputs: dets [1, n, 5] (corners and score)
    and labels [1, n], after NMS in the graph.

    Args:
        form: "auto" decides by the number of outputs. A YOLOX with RTMDet's two outputs needs "yolox", because its
            images are not normalised.
        classes: indices of the classes to detect, in the file's list; in COCO's 80, person is 0.
        threshold: boxes with a lower score are left out.

    Raises:
        UserError: onnxruntime is not installed, or the file is not such a detector.

    Source: YOLOX, arXiv 2107.08430, and its ONNX demo; RTMDet, arXiv 2212.07784, and MMDeploy.
    """

    def __init__(self, path: Path, *, form: str = "auto", classes: Sequence[int] = (0,), threshold: float = 0.3):
        self._session = open_session(path)
        self._path = path
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or shape[1] != 3 or len(outputs) not in (1, 2):
            raise UserError(
                f"{path} takes {[i.shape for i in inputs]} and gives {[o.name for o in outputs]}; expected one image "
                "[1, 3, h, w], and YOLOX's one output or RTMDet's dets and labels"
            )
        self._input = inputs[0].name
        self._input_hw = tuple(
            size if isinstance(size, int) else open_size for size, open_size in zip(shape[2:], _DYNAMIC_HW, strict=True)
        )
        self._two_outputs = len(outputs) == 2
        self._normalized = form == "rtmdet" or (form == "auto" and self._two_outputs)
        self._classes = list(classes)
        self._threshold = threshold

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Boxes:
        letter, scale = letterbox(image, (self._input_hw[0], self._input_hw[1]))
        pixels = letter[:, :, ::-1].astype(np.float32)
        if self._normalized:
            pixels = ((pixels - _RTMDET_MEAN) / _RTMDET_STD).astype(np.float32)
        outputs = self._session.run(None, {self._input: np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]})
        corners, scores = self._from_two(*outputs) if self._two_outputs else self._from_grids(outputs[0])
        xywh = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).astype(np.float64) / scale
        return Boxes(xywh, scores.astype(np.float64))

    def _from_two(self, dets: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if dets.ndim != 3 or dets.shape[2] != 5 or labels.shape != dets.shape[:2]:
            raise UserError(
                f"{self._path} gave {dets.shape} and {labels.shape}; expected RTMDet's dets [1, n, 5] and labels [1, n]"
            )
        kept = np.isin(labels[0], self._classes) & (dets[0, :, 4] >= self._threshold)
        return dets[0, kept, :4], dets[0, kept, 4]

    def _from_grids(self, output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cells, strides = _grids(self._input_hw)
        if output.ndim != 3 or output.shape[1] != len(cells) or output.shape[2] < 6 + max(self._classes):
            raise UserError(
                f"{self._path} gave {output.shape}; expected YOLOX's [1, {len(cells)}, 5 + classes] for an image of "
                f"{self._input_hw[1]}x{self._input_hw[0]}, with class {max(self._classes)} among them"
            )
        rows = output[0].astype(np.float64)
        scores = rows[:, 4] * rows[:, [5 + label for label in self._classes]].max(axis=1)
        likely = scores >= self._threshold
        rows, scores, cells, strides = rows[likely], scores[likely], cells[likely], strides[likely]
        centres, sizes = (rows[:, :2] + cells) * strides, np.exp(rows[:, 2:4]) * strides
        xywh = np.column_stack([centres - sizes / 2, sizes])
        kept = np.array(cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), 0.0, _NMS_IOU), np.int64).reshape(-1)
        return np.column_stack([xywh[kept, :2], xywh[kept, :2] + xywh[kept, 2:]]), scores[kept]


def _grids(input_hw: Sequence[int]) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 1"]]:
    """The column and row of every cell, and its stride: grid by grid, in row-major order."""
    cells, strides = [], []
    for stride in _STRIDES:
        rows, columns = np.mgrid[: input_hw[0] // stride, : input_hw[1] // stride]
        cells.append(np.column_stack([columns.ravel(), rows.ravel()]).astype(np.float64))
        strides.append(np.full((rows.size, 1), float(stride)))
    return np.concatenate(cells), np.concatenate(strides)
