"""Checks labels in COCO's form and their images before a training, and draws some of them.

mamkpd check-data --annotations=FILE --images=DIR [--skeleton=FILE|NAME] [--output=DIR]

It prints the keypoints, which of them mirror each other, the sizes, and all that is missing or odd in the file, with
what a training does about it. DIR/samples.png shows eight instances. The exit status is 1 if something needs repair.
docs/your-data.md describes the file's fields.
"""

import sys
from pathlib import Path

import cv2
from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.data.checking import check, report, samples
from mamkpd_jax.files import atomic_write
from mamkpd_jax.skeleton_files import find_skeleton

_ANNOTATIONS = flags.DEFINE_string("annotations", None, "The annotation file.", required=True, allow_override=True)
_IMAGES = flags.DEFINE_string("images", None, "The folder of its images.", required=True, allow_override=True)
_SKELETON = flags.DEFINE_string(
    "skeleton",
    "",
    "A skeleton file or a ready skeleton's name. Default: from the file's categories.",
    allow_override=True,
)
_EXIF = cli.define_exif()
_OUTPUT = flags.DEFINE_string("output", "runs/check-data", "Folder of the picture.", allow_override=True)


def main() -> None:
    skeleton = find_skeleton(_SKELETON.value, []) if _SKELETON.value else None
    checked = check(Path(_ANNOTATIONS.value), Path(_IMAGES.value), skeleton, _EXIF.value)
    print(report(checked))
    if checked.instances:
        picture = Path(_OUTPUT.value) / "samples.png"
        with atomic_write(picture) as temporary:
            cv2.imwrite(str(temporary), cv2.cvtColor(samples(checked), cv2.COLOR_RGB2BGR))
        print(f"{picture} shows samples")
    if not checked.usable:
        print(f"{_ANNOTATIONS.value} can't be trained on before this is repaired", file=sys.stderr)
        sys.exit(1)
    print(f"{_ANNOTATIONS.value} can be trained on")
