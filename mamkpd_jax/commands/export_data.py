"""Converts annotation files in COCO's form into YOLO pose labels.

mamkpd export-data --to=yolo --annotations=train.json [--val_annotations=val.json] --images=DIR --output=DIR

The new folder gets data.yaml, copies of the images in images/ and a text file for each in labels/, for the splits train
and val. Flip pairs are found from the keypoints' names, or taken from --skeleton.
"""

from pathlib import Path

from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.data.yolo_export import export_yolo

_TO = flags.DEFINE_enum("to", None, ["yolo"], "The format of the labels.", required=True)
_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "The annotation file of the training split.", required=True, allow_override=True
)
_VAL_ANNOTATIONS = flags.DEFINE_string(
    "val_annotations", None, "The annotation file of the validation split.", allow_override=True
)
_IMAGES = flags.DEFINE_string(
    "images", None, "The folder of the images: file names are relative to it.", required=True, allow_override=True
)
_SKELETON = flags.DEFINE_string(
    "skeleton", "", "A skeleton's name or file, if the keypoints' names don't give the flip pairs.", allow_override=True
)
_EXIF = cli.define_exif()
_OUTPUT = flags.DEFINE_string("output", None, "A new folder.", required=True, allow_override=True)


def main() -> None:
    given = {"train": _ANNOTATIONS.value, "val": _VAL_ANNOTATIONS.value}
    files = {split: Path(path) for split, path in given.items() if path is not None}
    counts = export_yolo(files, Path(_IMAGES.value), Path(_OUTPUT.value), _SKELETON.value, exif=_EXIF.value)
    for what, count in counts.items():
        print(f"{count:7} {what}")
    if "val" not in files:
        print("data.yaml names no validation images, which Ultralytics needs for training; give --val_annotations")
    print(f"{Path(_OUTPUT.value) / 'data.yaml'} describes the data set")
