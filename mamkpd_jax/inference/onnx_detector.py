"""Runs detectors from ONNX files, such as YOLO, YOLOX and RTMDet, in onnxruntime (the extra `onnx`).

The user supplies the files; docs/predict.md links to common ones.
"""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float, UInt8

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import GREY, Boxes, best_boxes, letterbox
from mamkpd_jax.inference.detector_classes import COCO_NAMES, N_COCO, select_classes
from mamkpd_jax.inference.detector_outputs import EXPECTED, FAMILIES, RTMDET, YOLO, form_of
from mamkpd_jax.inference.onnx_session import open_session
from mamkpd_jax.skeletons import Skeleton

AUTO = "auto"
FORMS = (AUTO, *FAMILIES)
_DYNAMIC_HW = (640, 640)  # for a file without a fixed size
_LARGEST_SIDE, _MOST_CLASSES = 8192, 100_000  # larger numbers in metadata are not believed
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
# For BGR. Source: MMDetection's RTMDet configs.
_RTMDET_MEAN, _RTMDET_STD = np.array([[103.53, 116.28, 123.675], [57.375, 57.12, 58.395]], np.float32)


class OnnxDetector:
    """A detector from an ONNX file. Threads may share it.

    At the start it runs once, on a grey image, to find the form of its outputs. Boxes are cut at the image's edges, and
    of overlapping boxes the best is kept, even across classes.

    Args:
        skeleton: that of the pose model, which decides the classes if none are given (see `select_classes`).
        form: one of FORMS; "auto" decides by the shapes of the outputs (see `detector_outputs.form_of`).
        classes: names or indices of the classes to detect. The names are those in the file's metadata, as Ultralytics
            writes them, or COCO's.
        threshold: boxes with a lower score are left out.

    Raises:
        UserError: onnxruntime is not installed, the file is not such a detector, or it lacks a class.
    """

    def __init__(
        self,
        path: Path,
        skeleton: Skeleton,
        *,
        form: str = AUTO,
        classes: Sequence[str | int] | None = None,
        threshold: float = 0.3,
    ):
        self._path = path
        self._session = open_session(path)
        metadata = _metadata(self._session)
        _check_metadata(path, metadata)
        self._set_input(metadata)
        grey = np.full((1, 3, *self._input_hw), GREY / 255, self._type)
        outputs = self._run(grey)
        found = form_of(outputs, self._input_hw, None if form == AUTO else form)
        if found is None:
            shapes = " and ".join(str(list(o.shape)) if isinstance(o, np.ndarray) else "a list" for o in outputs)
            hint = "" if form == AUTO else f" (--detector={form}; without it, other outputs are tried)"
            raise UserError(f"{path} gave {shapes}; {EXPECTED}{hint}")
        self._form = found
        self._threshold = threshold
        self._select(_names(metadata), skeleton, classes)

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Boxes:
        letter, scale, padding = letterbox(image, self._input_hw, centred=self._form.family == YOLO)
        outputs = self._run(self._pixels(letter).transpose(2, 0, 1)[None])
        corners, scores, labels = self._form.found(outputs, self._input_hw)
        wanted = np.isin(labels, self._classes)
        self._warn_of_other_classes(labels[scores >= self._threshold])
        return best_boxes(
            (corners[wanted].astype(np.float64) - (padding * 2)) / scale,
            scores[wanted].astype(np.float64),
            image.shape[:2],
            threshold=self._threshold,
            nms_iou=self._form.nms_iou,
        )

    def _set_input(self, metadata: dict[str, str]) -> None:
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3) or inputs[0].type not in _FLOATS:
            found = " and ".join(f"{i.type}{i.shape}" for i in inputs)
            raise UserError(f"{self._path} takes {found}; {EXPECTED}")
        if isinstance(shape[0], int) and shape[0] != 1:
            raise UserError(f"{self._path} takes {shape[0]} images at once; export it for one, with a batch size of 1")
        self._input, self._type = inputs[0].name, _FLOATS[inputs[0].type]
        height, width = (
            side if isinstance(side, int) else size for side, size in zip(shape[2:], _size(metadata), strict=True)
        )
        self._input_hw = (height, width)

    def _select(self, names: dict[int, str], skeleton: Skeleton, classes: Sequence[str | int] | None) -> None:
        """Sets the classes to detect."""
        n = self._form.n_classes or (max(names) + 1 if names else None)
        self._guesses = classes is None and n is None
        if not names:
            names = dict(enumerate(COCO_NAMES)) if n in (N_COCO, None) else {}
        try:
            self._classes = select_classes(skeleton, classes, names, n)
        except UserError as error:
            raise UserError(f"{self._path}: {error}") from error
        logging.info("%s detects %s", self._path.name, ", ".join(names.get(i, f"class {i}") for i in self._classes))

    def _pixels(self, letter: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
        """The image in the family's channel order and range: YOLO's is RGB from 0 to 1, YOLOX's BGR from 0 to 255."""
        pixels = letter.astype(np.float32)
        if self._form.family == YOLO:
            return pixels / 255
        bgr = pixels[:, :, ::-1]
        return (bgr - _RTMDET_MEAN) / _RTMDET_STD if self._form.family == RTMDET else bgr

    def _run(self, pixels: Float[np.ndarray, "1 3 h w"]) -> list[np.ndarray]:
        try:
            return self._session.run(None, {self._input: np.ascontiguousarray(pixels, self._type)})
        except Exception as error:  # onnxruntime's exceptions have no common base
            size = f"{self._input_hw[1]}x{self._input_hw[0]}"
            raise UserError(
                f"{self._path} does not take an image of {size} ({str(error).splitlines()[0]}); {EXPECTED}"
            ) from error

    def _warn_of_other_classes(self, labels: np.ndarray) -> None:
        """Warns once if there are boxes, but of other classes, and the classes are a guess."""
        if self._guesses and len(labels) and not np.isin(labels, self._classes).any():
            self._guesses = False
            logging.warning(
                "%s found the classes %s, but none of %s; if its classes are not COCO's, set --classes",
                self._path.name,
                ", ".join(map(str, np.unique(labels))),
                ", ".join(map(str, self._classes)),
            )


def _check_metadata(path: Path, metadata: dict[str, str]) -> None:
    """Refuses other models of Ultralytics, whose outputs may have the shape of YOLO's."""
    task = metadata.get("task", "detect")
    if metadata.get("author") == "Ultralytics" and task != "detect":
        raise UserError(f"{path} is a model for the task {task!r}; expected a detector, with the task 'detect'")


def _metadata(session: Any) -> dict[str, str]:
    """A file's metadata; empty if it is not UTF-8."""
    try:
        return session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError:
        return {}


def _names(metadata: dict[str, str]) -> dict[int, str]:
    """The class names in a file's metadata, by index."""
    names = _literal(metadata.get("names", ""))
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(type(index) is int and 0 <= index < _MOST_CLASSES for index in names):
        return {}
    return {index: " ".join(str(name).split()) for index, name in names.items()}


def _size(metadata: dict[str, str]) -> tuple[int, int]:
    """The height and width in a file's metadata, for inputs of any size."""
    match _literal(metadata.get("imgsz", "")):
        case [int(height), int(width)] if min(height, width) >= 32 and max(height, width) <= _LARGEST_SIDE:
            return height, width
    return _DYNAMIC_HW


def _literal(text: str) -> Any:
    """The value of a Python literal; None if it is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
