"""Creates detectors by name."""

from collections.abc import Sequence
from pathlib import Path

from absl import logging

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import Detector, whole_image
from mamkpd_jax.inference.detector_classes import select_classes, subject_of
from mamkpd_jax.inference.nanodet import NanoDet
from mamkpd_jax.inference.onnx_detector import AUTO, OnnxDetector
from mamkpd_jax.skeletons import Skeleton

NANODET, WHOLE = "nanodet", "whole"


def find_detector(
    name: str,
    skeleton: Skeleton,
    *,
    classes: Sequence[str | int] | None = None,
    threshold: float | None = None,
    form: str = AUTO,
) -> Detector:
    """The detector with this name: "nanodet", "whole", the path of an ONNX file, or "auto" (see `automatic`).

    Args:
        classes: names or indices of the classes to detect; None: those that the skeleton's model is for.
        threshold: boxes with a lower score are left out; None: the detector's default.
        form: the output form of an ONNX file (see `OnnxDetector`).

    Raises:
        UserError: the name or a class is unknown, no class is known for the skeleton, or the detector can't be loaded.
    """
    if name == AUTO:
        name = automatic(skeleton, classes)
    if form != AUTO and Path(name).suffix != ".onnx":
        raise UserError(f"--detector has no effect with --boxes={name}; leave it out")
    if name == WHOLE:
        if classes is not None:
            raise UserError("--classes has no effect with --boxes=whole; leave one of them out")
        return whole_image
    if name != NANODET and Path(name).suffix != ".onnx":
        raise UserError(f"the boxes are {name!r}; expected {AUTO}, {NANODET}, {WHOLE}, or a detector's .onnx file")
    at = {} if threshold is None else {"threshold": threshold}
    if name == NANODET:
        return NanoDet(select_classes(skeleton, classes), **at)
    return OnnxDetector(Path(name), skeleton, form=form, classes=classes, **at)


def automatic(skeleton: Skeleton, classes: Sequence[str | int] | None = None) -> str:
    """The detector that "auto" selects: "nanodet" if the classes are known, else "whole", with a log line."""
    if classes is not None or subject_of(skeleton) is not None:
        return NANODET
    logging.info(
        "the detector finds people and animals, not %s: each picture is one box; set --classes or --boxes to change it",
        skeleton.name,
    )
    return WHOLE
