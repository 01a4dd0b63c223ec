"""Predicted poses on images of a data set (MamKPD figures 6 and 7)."""

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from mamkpd_jax import Predictor
from mamkpd_jax.data.builders.images import read_image
from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.data.labels import read_labels, size_of
from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import DATASETS
from mamkpd_jax.skeletons import Skeleton
from mamkpd_jax.visualize import contact_sheet, draw_beside_truth, draw_region

_TILE_HW = (450, 600)
_COLUMNS = 4


class Sample(NamedTuple):
    """An image with the annotations of its people or animals, in COCO's format."""

    path: Path
    size_hw: tuple[int, int] | None  # as labelled; None if the labels lack it
    annotations: list[dict[str, Any]]


def samples(annotations: Path, images: Path, skeleton: Skeleton, n: int) -> list[Sample]:
    """At most `n` images with labelled keypoints, evenly spaced over the annotation file.

    Args:
        annotations: a file in COCO's format.
        images: the folder of its images.

    Raises:
        UserError: the file is damaged, has other keypoints than the skeleton, or labels no keypoints.
    """
    labels = read_labels(annotations, skeleton)
    by_image = defaultdict(list)
    for annotation in labels.annotations:
        if annotation["num_keypoints"] and not annotation["iscrowd"] and min(annotation["bbox"][2:]) > 0:
            by_image[annotation["image_id"]].append(annotation)
    by_id = {image["id"]: image for image in labels.images}
    if not by_image:
        raise UserError(f"{annotations} has no image with labelled keypoints; give another file")
    chosen = np.unique(np.linspace(0, len(by_image) - 1, n).astype(int))
    entries = [by_id[image_id] for image_id in np.array(list(by_image))[chosen].tolist()]
    return [Sample(images / entry["file_name"], size_of(entry), by_image[entry["id"]]) for entry in entries]


def poses(
    predictor: Predictor, samples: list[Sample], *, truth: bool = False, label: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """An RGB contact sheet of the images with the poses that are predicted in the labelled boxes.

    Args:
        truth: also draw the labelled poses, to the left of the predicted ones.
        label: write the score beside each keypoint.

    Raises:
        UserError: an image can't be read.
    """
    tiles, data = [], predictor.config.data
    reading = DATASETS[data.dataset].reading(data)
    for sample in samples:
        file = read_image(sample.path, sample.size_hw, exif=reading)
        image = decode_image(file.content, upright=file.upright)
        (result,) = predictor(image, np.array([annotation["bbox"] for annotation in sample.annotations]))
        whole = (0, 0, image.shape[1], image.shape[0])
        predicted = np.concatenate([result.keypoints, result.scores[..., None]], axis=-1).reshape(len(result), -1)
        style: dict[str, Any] = {"height_px": _TILE_HW[0], "label": "score" if label else ""}
        if truth:
            labelled = [annotation["keypoints"] for annotation in sample.annotations]
            tiles.append(draw_beside_truth(image, whole, labelled, predicted.tolist(), predictor.skeleton, **style))
        else:
            tiles.append(draw_region(image, whole, predicted.tolist(), predictor.skeleton, **style))
    height, width = _TILE_HW
    columns = min(len(tiles), _COLUMNS // 2 if truth else _COLUMNS)
    return contact_sheet(tiles, tile_hw=(height, 2 * width if truth else width), columns=columns)
