"""The flags that describe the detector of --boxes."""

import dataclasses
from typing import Any

from absl import flags

from mamkpd_jax.inference.boxes import Detector
from mamkpd_jax.inference.detectors import find_detector
from mamkpd_jax.inference.onnx_detector import AUTO, FORMS
from mamkpd_jax.skeletons import Skeleton

flags.disclaim_key_flags()  # --help of the program that defines the flags lists them


@dataclasses.dataclass(frozen=True)
class DetectorFlags:
    """--classes, --detector and --box_threshold."""

    classes: flags.FlagHolder[list[str] | None]
    form: flags.FlagHolder[str]
    threshold: flags.FlagHolder[float | None]

    @property
    def options(self) -> dict[str, Any]:
        """The options of `find_detector`."""
        return {"classes": self.classes.value, "form": self.form.value, "threshold": self.threshold.value}

    def find(self, name: str, skeleton: Skeleton) -> Detector:
        """The detector that --boxes names, as in `find_detector`."""
        return find_detector(name, skeleton, **self.options)


def define() -> DetectorFlags:
    """Defines the flags."""
    classes = (
        "The detector's classes to keep, by name or index, such as dog,cat or 16,15; an .onnx file may name them. "
        "Default: people or COCO's ten animals, as the model needs; a class with the skeleton's name; the only class."
    )
    form = "The family of --boxes=FILE.onnx, for a file that auto takes for another."
    threshold = (
        "Boxes with a lower score are ignored; 0 keeps all that the detector gives. Default: 0.29 with nanodet, else "
        "0.3."
    )
    return DetectorFlags(
        flags.DEFINE_list("classes", None, classes, allow_override=True),
        flags.DEFINE_enum("detector", AUTO, FORMS, form, allow_override=True),
        flags.DEFINE_float("box_threshold", None, threshold, 0.0, 1.0, allow_override=True),
    )
