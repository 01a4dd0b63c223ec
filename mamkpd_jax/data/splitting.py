"""Splits an annotation file in COCO's form into training and validation, by image."""

import hashlib
from pathlib import Path
from typing import Any

from mamkpd_jax.data.annotation_files import read_json
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import write_json

_SHARE = 0.2
_LEAST = 5  # validation images, where there are three times as many


def split_annotations(path: Path, folder: Path) -> tuple[Path, Path]:
    """Writes `folder`/train.json and val.json, whose entries are those of `path`, and returns their paths.

    Choice: a fifth of the annotated images is for validation. They are those whose file names have the smallest
    digests, so the split depends on neither chance nor order, and hardly changes when images are added. Images without
    annotations are in neither file.

    Raises:
        UserError: `path` is no annotation file, or fewer than two of its images are annotated.
    """
    data = read_json(path)
    images = _annotated_images(path, data)
    if len(images) < 2:
        raise UserError(
            f"{path} has {len(images)} annotated images; expected at least two, one of them for validation; label more"
        )
    images.sort(key=lambda image: hashlib.sha256(str(image.get("file_name")).encode()).digest())
    n_val = max(1, round(_SHARE * len(images)), min(_LEAST, len(images) // 3))
    parts = {"train.json": images[n_val:], "val.json": images[:n_val]}
    contents = {folder / name: _only(data, {image["id"] for image in part}) for name, part in parts.items()}
    for file, content in contents.items():
        write_json(file, content)
    train, val = contents
    return train, val


def _annotated_images(path: Path, data: Any) -> list[dict[str, Any]]:
    for field in ("images", "annotations"):
        entries = data.get(field) if isinstance(data, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(f"{path} has no list {field!r}; expected a keypoint annotation file in COCO's form")
    annotated = {annotation.get("image_id") for annotation in data["annotations"] if annotation.get("keypoints")}
    return [image for image in data["images"] if image.get("id") in annotated]


def _only(data: dict[str, Any], ids: set[Any]) -> dict[str, Any]:
    """The annotation file's content with the images of these ids alone, in the file's order."""
    return data | {
        "images": [image for image in data["images"] if image.get("id") in ids],
        "annotations": [annotation for annotation in data["annotations"] if annotation.get("image_id") in ids],
    }
