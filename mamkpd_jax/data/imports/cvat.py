"""Reads CVAT's export "COCO Keypoints 1.0": annotations/person_keypoints_SUBSET.json and images/, unpacked.

Choice: CVAT's skeletons have no labelled box. Their `bbox` is the tight rectangle around the keypoints, which cuts off
the body. The import computes a wider box and its area from the keypoints instead.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mamkpd_jax.data.annotation_files import read_json
from mamkpd_jax.data.imports._labels import Category, Instance, Labels, Picture, find, numbers, parsing, read_picture
from mamkpd_jax.errors import UserError

_PREFIX = "person_keypoints_"
_SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}  # split by subset name
_TOLERANCE_PX = 0.02  # CVAT writes two decimals


def read(path: Path, images: Path | None) -> Labels:
    """The labels of an unpacked export, or of one of its files.

    Choice: subsets become splits if all of them are named train, val, validation or test. Otherwise they are joined.

    Raises:
        UserError: a file or an image is missing or malformed, or the export is a ZIP file.
    """
    if path.suffix.lower() == ".zip":
        raise UserError(f"{path} is a ZIP file; unpack it and give the folder by --input")
    files = sorted((path / "annotations").glob(f"{_PREFIX}*.json")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path} has no annotations/{_PREFIX}*.json; give CVAT's unpacked export COCO Keypoints 1.0")
    root = path if path.is_dir() else path.absolute().parent.parent
    categories: dict[str, Category] = {}
    left_out = Counter[str]()
    subsets = {file.stem.removeprefix(_PREFIX): file for file in files}
    named = {subset.lower() for subset in subsets} <= _SPLITS.keys()
    splits: dict[str, list[Picture]] = {}
    for subset, file in subsets.items():
        folders = [images or root / "images", (images or root / "images") / subset]
        split = _SPLITS[subset.lower()] if named else "labels"
        splits.setdefault(split, []).extend(_pictures(file, folders, categories, left_out))
    used = {instance.category for pictures in splits.values() for picture in pictures for instance in picture.instances}
    kept = [category for name, category in categories.items() if name in used]
    return Labels(splits=splits, categories=kept, left_out=left_out)


def _pictures(
    file: Path, folders: list[Path], categories: dict[str, Category], left_out: Counter[str]
) -> list[Picture]:
    """The pictures of a file. Adds its categories with keypoints to `categories`, and counts in `left_out`."""
    content = read_json(file)
    with parsing(file, "a file of CVAT's export COCO Keypoints 1.0"):
        of_id = {}
        for fields in content["categories"]:
            if fields.get("keypoints"):
                of_id[fields["id"]] = category = _category(fields)
                if categories.setdefault(category.name, category).keypoints != category.keypoints:
                    raise ValueError(f"category {category.name} has other keypoints than in another file")
        pictures = {}
        for image in content["images"]:
            if image["id"] in pictures:
                raise ValueError(f"two images have the id {image['id']}")
            place = find(image["file_name"], folders)
            pictures[image["id"]] = read_picture(place, [image["width"], image["height"]])
        for i, annotation in enumerate(content["annotations"]):
            with parsing(f"{file}: annotation {i}", "one of CVAT's export"):
                if annotation["image_id"] not in pictures:
                    raise ValueError(f"image_id {annotation['image_id']}, which is not in images")
                if annotation["category_id"] in of_id:
                    instance = _instance(annotation, of_id[annotation["category_id"]])
                    pictures[annotation["image_id"]].instances.append(instance)
                else:
                    left_out["annotations of categories without keypoints"] += 1
    return list(pictures.values())


def _category(fields: dict[str, Any]) -> Category:
    keypoints = tuple(str(name) for name in fields["keypoints"])
    edges = tuple((int(a) - 1, int(b) - 1) for a, b in fields.get("skeleton") or ())
    return Category(str(fields["name"]), keypoints, edges)


def _instance(annotation: dict[str, Any], category: Category) -> Instance:
    values = numbers(annotation["keypoints"], 3 * len(category.keypoints))
    rows = np.reshape(values, (-1, 3))
    if not np.isin(rows[:, 2], (0, 1, 2)).all():
        raise ValueError(f"visibility {set(rows[:, 2].tolist()) - {0, 1, 2}}, expected 0, 1 or 2")
    points = {name: (x, y, int(v)) for name, (x, y, v) in zip(category.keypoints, rows.tolist(), strict=True) if v}
    x, y, width, height = box = numbers(annotation["bbox"], 4)
    (area,) = numbers([annotation["area"]], 1)
    is_own = not any(_is_tight_box(box, part) for part in (rows, rows[rows[:, 2] > 0]) if len(part))
    own_box, own_area = ((x, y, width, height), area) if is_own else (None, None)
    return Instance(category.name, points, own_box, own_area, bool(annotation.get("iscrowd")))


def _is_tight_box(box: list[float], keypoints: np.ndarray) -> bool:
    """Whether a box is the tight rectangle around the keypoints."""
    points = keypoints[:, :2]
    return bool(np.allclose(box, [*points.min(axis=0), *np.ptp(points, axis=0)], rtol=0, atol=_TOLERANCE_PX))


READ = read
