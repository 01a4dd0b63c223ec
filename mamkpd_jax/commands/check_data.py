"""Checks labels in COCO's form and their images before training, and draws samples.

mamkpd check-data --annotations=FILE --images=DIR [--skeleton=FILE|NAME] [--output=DIR]

The command prints the keypoints, their flip pairs, the sizes, and every missing or odd value in the file with its
effect on training. DIR/samples.png shows eight instances. The exit status is 1 if something needs repair.
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
    "A ready skeleton's name or a skeleton file. Default: the skeleton of the file's categories.",
    allow_override=True,
)
_EXIF = cli.define_exif()
_OUTPUT = flags.DEFINE_string("output", "runs/check-data", "Folder for samples.png.", allow_override=True)


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
