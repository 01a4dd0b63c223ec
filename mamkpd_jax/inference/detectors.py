"""Detectors by name."""

from collections.abc import Sequence
from pathlib import Path

from absl import logging

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import Detector, whole_image
from mamkpd_jax.inference.coco_classes import classes_of, subject_of
from mamkpd_jax.inference.nanodet import NanoDet
from mamkpd_jax.inference.onnx_detector import OnnxDetector
from mamkpd_jax.skeletons import Skeleton

AUTO, NANODET, WHOLE = "auto", "nanodet", "whole"


def find_detector(
    name: str,
    skeleton: Skeleton,
    *,
    classes: Sequence[int] | None = None,
    threshold: float | None = None,
    form: str = "auto",
) -> Detector:
    """The detector of a name: "nanodet", "whole", the path of an ONNX file, or "auto" as `automatic` chooses.

    Args:
        classes: of COCO's, those that count; None: those that the skeleton's model is for.
        threshold: boxes with a lower score are left out; None: the detector's own.
        form: of an ONNX file, as `OnnxDetector` takes it.

    Raises:
        UserError: there is no such detector.
    """
    if name == AUTO:
        name = automatic(skeleton, classes)
    if name == WHOLE:
        return whole_image
    if name != NANODET and Path(name).suffix != ".onnx":
        raise UserError(f"the boxes are {name!r}; expected {AUTO}, {NANODET}, {WHOLE}, or a detector's .onnx file")
    classes = classes_of(skeleton) if classes is None else classes
    at = {} if threshold is None else {"threshold": threshold}
    if name == NANODET:
        return NanoDet(classes, **at)
    return OnnxDetector(Path(name), form=form, classes=classes, **at)


def automatic(skeleton: Skeleton, classes: Sequence[int] | None = None) -> str:
    """ "nanodet" where it knows what the skeleton's model is for, else "whole", which the log explains."""
    if classes is not None or subject_of(skeleton) is not None:
        return NANODET
    logging.info(
        "the detector finds people and animals, and no %s: each picture is one box, unless --classes or --boxes is set",
        skeleton.name,
    )
    return WHOLE
