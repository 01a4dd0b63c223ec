"""Splits an annotation file in COCO's form into training and validation, by image."""

import hashlib
from pathlib import Path
from typing import Any

from absl import logging

from mamkpd_jax.data.annotation_files import read_json
from mamkpd_jax.data.labels import ANNOTATION_FIELDS, IMAGE_FIELDS, read_labels
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import write_json
from mamkpd_jax.skeleton_files import has_keypoints
from mamkpd_jax.skeletons import Skeleton

_VAL_FRACTION = 0.2
_MIN_VAL_IMAGES = 5  # if there are at least three times as many images


def split_annotations(path: Path, folder: Path, skeleton: Skeleton | None = None) -> tuple[Path, Path]:
    """Splits the labels of `path` into train.json and val.json in `folder`, and returns their paths.

    The files include derived fields. Images without labelled keypoints are in neither file.

    Choice: a fifth of the images is for validation: those whose file names have the smallest digests. So the split
    depends on neither chance nor order, and hardly changes when images are added.

    Args:
        skeleton: None: the skeleton of the file's categories.

    Raises:
        UserError: `path` can't be used, or fewer than two of its images have labelled keypoints.
    """
    labels = read_labels(path, skeleton)
    for line in labels.findings.lines():
        logging.info("%s: %s", path, line)
    labelled = {annotation["image_id"] for annotation in labels.annotations if annotation["num_keypoints"]}
    images = [image for image in labels.images if image["id"] in labelled]
    if len(images) < 2:
        raise UserError(
            f"{path} has {len(images)} images with labelled keypoints; expected at least two, one of them for "
            "validation; label more"
        )
    images.sort(key=lambda image: hashlib.sha256(image["file_name"].encode()).digest())
    n_val = max(1, round(_VAL_FRACTION * len(images)), min(_MIN_VAL_IMAGES, len(images) // 3))
    categories = [_with_ordered_keypoints(c, labels.skeleton) for c in read_json(path).get("categories", [])]
    files = folder / "train.json", folder / "val.json"
    for file, part in zip(files, (images[n_val:], images[:n_val]), strict=True):
        write_json(file, _subset({image["id"] for image in part}, labels.content) | {"categories": categories})
    return files


def _with_ordered_keypoints(category: Any, skeleton: Skeleton) -> Any:
    """The category with its keypoints in the skeleton's order, as the labels were read."""
    if not has_keypoints(category) or category["keypoints"] == list(skeleton.joints):
        return category
    edges = [[a + 1, b + 1] for a, b in skeleton.edges]
    return {**category, "keypoints": list(skeleton.joints), "skeleton": edges}


def _subset(ids: set[int], content: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The images with these ids and their annotations, in the file's order and with COCO's fields only."""
    images = [{name: image[name] for name in IMAGE_FIELDS} for image in content["images"] if image["id"] in ids]
    of_images = [annotation for annotation in content["annotations"] if annotation["image_id"] in ids]
    return {"images": images, "annotations": [{name: a[name] for name in ANNOTATION_FIELDS} for a in of_images]}
