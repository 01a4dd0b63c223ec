"""Reads YOLO's pose labels in Ultralytics' form: data.yaml and a text file for each image.

A label is a line `class cx cy w h x1 y1 v1 x2 y2 v2 ...`. Coordinates are relative to the size of the upright image.
The visibilities v may be missing. An image without a label file has no instance.
"""

import os
from pathlib import Path
from typing import Any

from mamkpd_jax.data.annotation_files import are_numbers
from mamkpd_jax.data.builders.images import SUFFIXES
from mamkpd_jax.data.imports._labels import Category, Instance, Labels, Picture, parsing, read_picture, read_yaml
from mamkpd_jax.errors import UserError

_SPLITS = ("train", "val", "test")
_TOLERANCE = 0.01  # how far relative coordinates may be outside the image, as in Ultralytics
_MAX_KEYPOINTS = 1000


def read(path: Path, images: Path | None) -> Labels:
    """The labels of a data.yaml, or of a folder with one YAML file.

    Raises:
        UserError: a file is missing or malformed, or `images` is given.
    """
    if images is not None:
        raise UserError(f"--images={images}: YOLO's data.yaml names the folders of the images; leave --images out")
    file = _data_yaml(path)
    fields = read_yaml(file)
    with parsing(file, "a data.yaml of YOLO pose labels"):
        n, dims = _shape(fields["kpt_shape"])
        categories = _categories(fields, n)
        flip_pairs = _flip_pairs(fields["flip_idx"], n) if fields.get("flip_idx") is not None else None
        entries = {split: fields[split] for split in _SPLITS if fields.get(split)}
        if not entries:
            raise ValueError(f"none of {', '.join(_SPLITS)} is given")
        folder = Path(str(fields.get("path") or ""))
        files = {split: _images(entry, file, folder) for split, entry in entries.items()}
    splits = {split: [_picture(image, categories, dims) for image in found] for split, found in files.items()}
    if not any(label_file(picture.path).is_file() for pictures in splits.values() for picture in pictures):
        first = next(iter(splits.values()))[0].path
        raise UserError(f"no image has a label file; {first} would have {label_file(first)}: put the labels there")
    return Labels(splits=splits, categories=list(categories.values()), flip_pairs=flip_pairs)


def label_file(image: Path) -> Path:
    """The path of an image's label file: the last folder `images` becomes `labels`. Source: Ultralytics."""
    *folders, name = image.parts
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, name).with_suffix(".txt")


def _data_yaml(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    if len(found) != 1:
        raise UserError(f"{path} has {len(found)} YAML files; give the data.yaml itself by --input")
    return found[0]


def _shape(kpt_shape: Any) -> tuple[int, int]:
    """The number of keypoints, and the number of values for each of them."""
    if not are_numbers(kpt_shape, 2) or kpt_shape[0] not in range(1, _MAX_KEYPOINTS + 1) or kpt_shape[1] not in (2, 3):
        raise ValueError(f"kpt_shape {kpt_shape}, expected the number of keypoints and 2 or 3")
    return int(kpt_shape[0]), int(kpt_shape[1])


def _categories(fields: dict[str, Any], n: int) -> dict[int, Category]:
    """The categories by class number. Choice: keypoints without names are numbered."""
    classes, keypoints = _by_class(fields["names"]), _by_class(fields.get("kpt_names") or {})
    if len(set(classes.values())) != len(classes):
        raise ValueError("names has two classes of one name")
    categories = {}
    for i, name in sorted(classes.items()):
        joints = tuple(str(joint) for joint in keypoints.get(i, [f"keypoint_{joint}" for joint in range(n)]))
        if len(joints) != n:
            raise ValueError(f"kpt_names has {len(joints)} names for class {i} and kpt_shape {n} keypoints")
        categories[i] = Category(str(name), joints)
    return categories


def _by_class(values: Any) -> dict[int, Any]:
    return {int(i): value for i, value in (values.items() if isinstance(values, dict) else enumerate(values))}


def _flip_pairs(flip_idx: Any, n: int) -> tuple[tuple[int, int], ...]:
    if sorted(flip_idx) != list(range(n)) or any(flip_idx[j] != i for i, j in enumerate(flip_idx)):
        raise ValueError(f"flip_idx {flip_idx}, expected the mirror keypoint of each of {n} keypoints")
    return tuple((i, j) for i, j in enumerate(flip_idx) if i < j)


def _images(entry: Any, file: Path, folder: Path) -> list[Path]:
    """The image files of a split: all images in folders and their subfolders, and those that .txt files list."""
    found = []
    for name in entry if isinstance(entry, list) else [entry]:
        place = _place(str(name), file, folder)
        if place.is_dir():
            found += sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES)
        else:
            lines = place.read_text(encoding="utf-8").split("\n")
            found += [place.parent / line.strip() for line in lines if line.strip()]
    if not found:
        raise ValueError(f"no image in {entry}")
    return [Path(os.path.abspath(path)) for path in found]


def _place(name: str, file: Path, folder: Path) -> Path:
    """The path of a folder or list of images.

    Choice: `path` is relative to the data.yaml or to the working directory. If neither has the images, the folder of
    the data.yaml is searched, because data sets get moved. As in Ultralytics, a leading "../" is dropped if needed.
    """
    for root in (file.parent / folder, folder, file.parent):
        for candidate in (root / name, root / name.removeprefix("../")):
            if candidate.exists():
                return candidate
    raise ValueError(f"{file.parent / folder / name} does not exist; correct the field path or the split's field")


def _picture(path: Path, categories: dict[int, Category], dims: int) -> Picture:
    picture, labels = read_picture(path), label_file(path)
    if labels.is_file():
        with parsing(labels, "a text file"):
            lines = labels.read_text(encoding="utf-8").splitlines()
        for i, line in enumerate(lines, start=1):
            if line.strip():
                with parsing(labels, f"a file of YOLO pose labels with {dims} values a keypoint in line {i}"):
                    picture.instances.append(_instance(line, categories, dims, picture))
    return picture


def _instance(line: str, categories: dict[int, Category], dims: int, picture: Picture) -> Instance:
    number, *values = (float(value) for value in line.split())
    if number not in categories:
        raise ValueError(f"class {number:g}, which is not in names")
    category, size = categories[int(number)], (picture.width, picture.height)
    if len(values) != 4 + dims * len(category.keypoints):
        raise ValueError(f"{1 + len(values)} values, expected {5 + dims * len(category.keypoints)} as kpt_shape says")
    cx, cy, width, height = _to_pixels(values[:4], *size)
    points = {}
    for name, start in zip(category.keypoints, range(4, len(values), dims), strict=True):
        x, y = values[start : start + 2]
        visibility = values[start + 2] if dims == 3 else _visibility(x, y)
        if visibility not in (0, 1, 2):
            raise ValueError(f"visibility {visibility:g}, expected 0 (unlabelled), 1 (hidden) or 2 (seen)")
        if visibility:
            points[name] = (*_to_pixels([x, y], *size), int(visibility))
    return Instance(category.name, points, (cx - width / 2, cy - height / 2, width, height))


def _visibility(x: float, y: float) -> int:
    """The visibility of a keypoint without v.

    Choice: (0, 0) is unlabelled as in COCO, and negative coordinates are unlabelled as in Ultralytics.
    """
    return 0 if x < 0 or y < 0 or x == y == 0 else 2


def _to_pixels(values: list[float], width: int, height: int) -> list[float]:
    """Converts coordinates from fractions of the image's size to pixels."""
    for value in values:
        if not -_TOLERANCE <= value <= 1 + _TOLERANCE:
            raise ValueError(f"{value:g}, expected fractions of the image's size from 0 to 1")
    return [value * size for value, size in zip(values, (width, height) * 2, strict=False)]


READ = read
