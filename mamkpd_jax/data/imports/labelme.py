"""Reads LabelMe's labels: a JSON file for each image, with points, rectangles and their groups.

A point is a keypoint. Shapes with the same `group_id` are one instance; an image without groups has one instance. A
rectangle is the box, and its label the category. A point is hidden if it has "hidden" or "occluded" as a flag or as its
description.
"""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from mamkpd_jax.data.annotation_files import read_json
from mamkpd_jax.data.imports._labels import (
    HIDDEN,
    UNNAMED,
    Instance,
    Labels,
    Picture,
    find,
    labels_without_splits,
    numbers,
    parsing,
    read_picture,
)
from mamkpd_jax.errors import UserError


def read(path: Path, images: Path | None) -> Labels:
    """The labels of a file, or of all JSON files in a folder and its subfolders.

    Raises:
        UserError: a file or an image is missing or malformed, or an instance has a keypoint or box twice.
    """
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path} has no JSON file; give the folder of LabelMe's files by --input")
    left_out = Counter[str]()
    return labels_without_splits([_picture(file, images, left_out) for file in files], left_out)


def _picture(file: Path, images: Path | None, left_out: Counter[str]) -> Picture:
    content = read_json(file)
    with parsing(file, "a file of LabelMe, as all JSON files of its folder have to be"):
        image = find(content["imagePath"], [images] if images else [file.parent])
        picture = read_picture(image, [content["imageWidth"], content["imageHeight"]])
        groups = defaultdict(list)
        for shape in content["shapes"]:
            groups[shape.get("group_id")].append(shape)
        if len(groups) > 1 and None in groups:
            left_out["shapes without a group in images with groups"] += len(groups.pop(None))
        picture.instances.extend(_instance(file, group, shapes, left_out) for group, shapes in groups.items())
    return picture


def _instance(file: Path, group: Any, shapes: list[Any], left_out: Counter[str]) -> Instance:
    points: dict[str, tuple[float, float, int]] = {}
    category, box = UNNAMED, None
    for shape in shapes:
        label, corners = str(shape["label"]), [numbers(point, 2) for point in shape["points"]]
        if shape["shape_type"] == "point":
            _check_unique(label not in points, f"points {label!r}", group, file)
            x, y = corners[0]
            points[label] = (x, y, 1 if _is_hidden(shape) else 2)
        elif shape["shape_type"] == "rectangle":
            _check_unique(box is None, "rectangles", group, file)
            left, right, top, bottom = (end(side) for side in zip(*corners, strict=True) for end in (min, max))
            category, box = label, (left, top, right - left, bottom - top)
        else:
            left_out[f"shapes of type {shape['shape_type']}"] += 1
    return Instance(category, points, box)


def _check_unique(is_unique: bool, what: str, group: Any, file: Path) -> None:
    if not is_unique:
        raise UserError(
            f"{file} has two {what} with group_id {group}; give each instance's shapes a separate group in LabelMe"
        )


def _is_hidden(shape: dict[str, Any]) -> bool:
    flags = {name for name, value in (shape.get("flags") or {}).items() if value}
    return bool(HIDDEN & {str(word).strip().lower() for word in (*flags, shape.get("description"))})


READ = read
