"""Draws the paper's figures from your checkpoints, logs and results.

mamkpd plots features --checkpoint=DIR[,DIR] --image=FILE [--box=X,Y,WIDTH,HEIGHT] --output=DIR
    Features of the stem and the stages, one row per checkpoint (figures 4 and 5: one with and one without CMM).
mamkpd plots poses --checkpoint=DIR --annotations=FILE --images=DIR [--truth] [--label] --output=DIR
    Predicted poses on pictures of a data set, in the boxes of its annotation file in COCO's form (figures 6 and 7).
mamkpd plots sheet --images=DIR --output=DIR
    All pictures of a folder on one sheet, such as those that `mamkpd predict` has drawn.
mamkpd plots curves --workdir=DIR[,DIR ...] --output=DIR
    Learning curves of training runs, from their metrics.jsonl.
mamkpd plots tradeoff [--reports=FILE[,FILE ...]] [--benches=FILE[,FILE ...]] --output=DIR
    Accuracy against parameters and speed (figure 1). The paper's points are hollow. Filled points are measured: the
    accuracy by `mamkpd eval` on COCO (its report.json), the speed of the same variant by `mamkpd bench model`
    (or export_speed).

Each writes NAME.png to the folder; features, curves and tradeoff also write NAME.pdf. mamkpd plots NAME --help lists
the flags.
"""

import os
from pathlib import Path
from typing import Any

from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.errors import UserError

_CHECKPOINT = flags.DEFINE_list(
    "checkpoint",
    None,
    "Names of models, run directories or weights files, separated by commas; for poses a single one.",
    allow_override=True,
)
_IMAGE = flags.DEFINE_string("image", None, "A picture.")
_BOX = flags.DEFINE_list("box", None, "The box in --image, in pixels: x, y, width, height. Default: the whole picture.")
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "An annotation file in COCO's form.", allow_override=True)
_IMAGES = flags.DEFINE_string("images", None, "The folder of the pictures.")
_COUNT = flags.DEFINE_integer("count", 12, "Number of pictures, evenly chosen.", lower_bound=1)
_TRUTH = flags.DEFINE_bool("truth", False, "Show the labelled poses to the left of the predicted ones.")
_LABEL = flags.DEFINE_bool("label", False, "Write the scores beside the joints.")
_WORKDIR = flags.DEFINE_list("workdir", None, "Folders of training runs.", allow_override=True)
_REPORTS = flags.DEFINE_list("reports", [], "Files report.json of `mamkpd eval` on COCO.")
_BENCHES = flags.DEFINE_list("benches", [], "Result files of `mamkpd bench model` or export_speed.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the plot.", required=True, allow_override=True)

_TILE_HW, _COLUMNS = (360, 480), 4  # of a sheet


def _features() -> None:
    from mamkpd_jax import Predictor
    from mamkpd_jax.artifact.reading import read_artifact
    from mamkpd_jax.plots.features import features, row

    image, boxes = Path(_given(_IMAGE)), "whole" if _BOX.value is None else [_BOX.value]
    sources = _given(_CHECKPOINT)
    # A row has no room for full paths, so its name is the part of the path in which the checkpoints differ.
    paths = [Path(source).absolute() for source in sources]
    parent = os.path.commonpath([path.parent for path in paths])
    rows = []
    for source, path in zip(sources, paths, strict=True):
        artifact = read_artifact(source)
        rows.append(row(str(path.relative_to(parent)), artifact, Predictor(artifact).crops(image, boxes).images[0]))
    _save(features(rows), "features")


def _poses() -> None:
    from mamkpd_jax import Predictor
    from mamkpd_jax.plots.poses import poses, samples

    predictor = Predictor.from_pretrained(_given(_CHECKPOINT)[0])
    chosen = samples(Path(_given(_ANNOTATIONS)), Path(_given(_IMAGES)), predictor.skeleton, _COUNT.value)
    sheet = poses(predictor, chosen, truth=_TRUTH.value, label=_LABEL.value)
    _write(sheet, "poses")


def _sheet() -> None:
    from mamkpd_jax.inference.images import read
    from mamkpd_jax.inference.picture_files import find_pictures
    from mamkpd_jax.visualize import contact_sheet

    pictures = find_pictures(_given(_IMAGES), Path(_OUTPUT.value) / "sheet.png", flag="images")
    images = [read(pictures.path(name), upright=True) for name in pictures.names]
    _write(contact_sheet(images, tile_hw=_TILE_HW, columns=_COLUMNS), "sheet")


def _curves() -> None:
    from mamkpd_jax.plots.curves import curves, read_metrics

    _save(curves({folder: read_metrics(Path(folder)) for folder in _given(_WORKDIR)}), "curves")


def _tradeoff() -> None:
    from mamkpd_jax.plots.tradeoff import measured, tradeoff

    points = measured([Path(path) for path in _REPORTS.value], [Path(path) for path in _BENCHES.value])
    _save(tradeoff(points), "tradeoff")


def _write(sheet: Any, name: str) -> None:
    import cv2

    path = Path(_OUTPUT.value) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    print(path)


def _given(flag: flags.FlagHolder) -> Any:
    if not flag.value:
        raise UserError(f"--{flag.name} is missing (see --help)")
    return flag.value


def _save(figure: Any, name: str) -> None:
    from mamkpd_jax.plots.plot import save

    for path in save(figure, Path(_OUTPUT.value), name):
        print(path)


# Each function imports what its plot needs, so that --help works without matplotlib.
_PLOTS = {"features": _features, "poses": _poses, "sheet": _sheet, "curves": _curves, "tradeoff": _tradeoff}
main = cli.Choice("plot", _PLOTS, lambda: __doc__ or "")
