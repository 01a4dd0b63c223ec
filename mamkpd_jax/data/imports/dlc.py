"""Reads DeepLabCut's labels: labeled-data/VIDEO/CollectedData_SCORER.csv of a project.

Choice: the category is "animal", because a project names none. In a project with several animals, unique bodyparts
(those of the individual "single") are left out, because they are not keypoints of an animal. DeepLabCut does not mark
hidden keypoints, so all labelled ones count as seen.
"""

import csv
import math
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from mamkpd_jax.data.imports._labels import (
    Category,
    Instance,
    Labels,
    Picture,
    find,
    numbers,
    parsing,
    read_picture,
    read_yaml,
)
from mamkpd_jax.errors import UserError

_CATEGORY = "animal"
_UNIQUE = "single"  # the individual of unique bodyparts


class _Column(NamedTuple):
    """A column of a keypoint's x coordinates. The next column has its y coordinates."""

    index: int
    individual: str
    bodypart: str


def read(path: Path, images: Path | None) -> Labels:
    """The labels of a file, of a video's folder, or of a project, whose skeleton gives the edges.

    Raises:
        UserError: a file or an image is missing or malformed.
    """
    name = "CollectedData_*.csv"
    files = sorted([*path.glob(name), *path.glob(f"labeled-data/*/{name}")]) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path} has no {name} or labeled-data/*/{name}; give DeepLabCut's project by --input")
    keypoints: dict[str, None] = {}
    left_out = Counter[str]()
    pictures = [picture for file in files for picture in _pictures(file, images, keypoints, left_out)]
    config = path / "config.yaml"
    edges = _edges(config, list(keypoints)) if config.is_file() else ()
    categories = [Category(_CATEGORY, tuple(keypoints), edges)]
    return Labels(splits={"labels": pictures}, categories=categories, left_out=left_out)


def _pictures(file: Path, images: Path | None, keypoints: dict[str, None], left_out: Counter[str]) -> list[Picture]:
    """The pictures of a file. Adds its bodyparts to `keypoints`, and counts in `left_out`."""
    folder = Path(os.path.abspath(file.parent))
    folders = [images, images / folder.name] if images else [folder.parent.parent, folder]
    pictures = []
    with parsing(file, "a file CollectedData of DeepLabCut"):
        rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
        header = {row[0]: row for row in rows[:4] if row[0] in ("scorer", "individuals", "bodyparts", "coords")}
        columns = _columns(header)
        keypoints |= {column.bodypart: None for column in columns if column.individual != _UNIQUE}
    for i, row in enumerate(rows[len(header) :], start=len(header) + 1):
        with parsing(f"{file}: row {i}", "one of a path and x and y of each bodypart"):
            picture = read_picture(find("/".join(row[: columns[0].index]), folders))
            picture.instances.extend(_animals(row, columns, left_out))
            pictures.append(picture)
    return pictures


def _animals(row: list[str], columns: list[_Column], left_out: Counter[str]) -> list[Instance]:
    animals: dict[str, Instance] = {}
    for column in columns:
        x, y = (float(cell or "nan") for cell in row[column.index : column.index + 2])
        if math.isnan(x) and math.isnan(y):
            continue
        x, y = numbers([x, y], 2)
        if column.individual == _UNIQUE:
            left_out["unique bodyparts"] += 1
        else:
            animal = animals.setdefault(column.individual, Instance(_CATEGORY, {}, None))
            animal.points[column.bodypart] = (x, y, 2)
    return list(animals.values())


def _columns(header: dict[str, list[str]]) -> list[_Column]:
    """The column of each keypoint. The one or three columns before the first hold the image's path."""
    coords, bodyparts = header["coords"], header["bodyparts"]
    individuals = header.get("individuals", [""] * len(coords))
    found = [_Column(i, individuals[i], bodyparts[i]) for i, coord in enumerate(coords) if coord == "x"]
    first = found[0].index
    if first not in (1, 3) or coords[first:] != ["x", "y"] * len(found):
        raise ValueError(f"coords begins with {coords[:6]}, expected x and y of each bodypart after 1 or 3 columns")
    names = [(column.individual, column.bodypart) for column in found]
    if len(set(names)) != len(names):
        raise ValueError("bodyparts has a duplicate")
    return found


def _edges(config: Path, keypoints: list[str]) -> tuple[tuple[int, int], ...]:
    """The edges in a project's config.yaml, without those to bodyparts that are not labelled."""
    fields = read_yaml(config)
    with parsing(config, "a config.yaml of DeepLabCut"):
        pairs = [tuple(pair) for pair in fields.get("skeleton") or ()]
        return tuple((keypoints.index(a), keypoints.index(b)) for a, b in pairs if {a, b} <= set(keypoints))


READ = read
