"""Converts labels of YOLO, LabelMe, CVAT, Label Studio or DeepLabCut into annotation files in COCO's form.

mamkpd import-data --from=yolo --input=DIR|data.yaml --output=DIR
mamkpd import-data --from=labelme --input=DIR|FILE.json --output=DIR [--images=DIR]
mamkpd import-data --from=cvat --input=DIR|FILE.json --output=DIR [--images=DIR]
mamkpd import-data --from=labelstudio --input=FILE.json --output=DIR [--images=DIR]
mamkpd import-data --from=dlc --input=DIR|FILE.csv --output=DIR [--images=DIR]

The command writes labels.json, or train.json, val.json and test.json if the source has these splits. It also writes
skeleton.json if the source has flip pairs that can't be found from the keypoints' names. It prints the counts, the
images' folder and the next command. It does not copy images. Boxes are those of the labels, or enclose the keypoints.
"""

import shlex
from pathlib import Path

from absl import flags

from mamkpd_jax.data.imports._coco import write
from mamkpd_jax.registry import IMPORTS

_FROM = flags.DEFINE_enum("from", None, list(IMPORTS), "The labels' tool or format.", required=True)
_INPUT = flags.DEFINE_string("input", None, "The labels: a file or a folder.", required=True, allow_override=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the annotation files.", required=True, allow_override=True)
_IMAGES = flags.DEFINE_string(
    "images", None, "The folder of the images, if the labels don't name it.", allow_override=True
)


def main() -> None:
    given = Path(_IMAGES.value) if _IMAGES.value is not None else None
    written = write(IMPORTS[_FROM.value](Path(_INPUT.value), given), Path(_OUTPUT.value))
    for path, (n_images, n_instances) in written.files.items():
        print(f"{path}: {n_images} images, {n_instances} instances")
    for what, count in written.left_out.items():
        print(f"left out: {count} {what}")
    here = Path.cwd()
    images = written.images.relative_to(here) if written.images.is_relative_to(here) else written.images
    print(f"the images are in {images}")
    print("next:")
    for path in written.files:
        command = ["mamkpd", "check-data", f"--annotations={path}", f"--images={images}"]
        print(shlex.join(command + ([f"--skeleton={written.skeleton}"] if written.skeleton else [])))
