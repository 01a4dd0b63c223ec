"""Reads Label Studio's JSON export: tasks with keypoints and rectangles in percent of the upright image.

A keypoint belongs to the rectangle that is its parent or has a relation to it. Other keypoints belong to the only
rectangle of their image, or to the smallest one that contains them. An image without rectangles has one instance. A
keypoint with the choice "hidden" or "occluded" is hidden.
"""

import math
import os
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from mamkpd_jax.data.annotation_files import read_json
from mamkpd_jax.data.builders.images import SUFFIXES
from mamkpd_jax.data.imports._labels import (
    HIDDEN,
    UNNAMED,
    Instance,
    Labels,
    Picture,
    labels_without_splits,
    numbers,
    parsing,
    read_picture,
)
from mamkpd_jax.errors import UserError

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")  # Label Studio adds it to the names of uploaded files
_KEYPOINT, _RECTANGLE = "keypointlabels", "rectanglelabels"


def read(path: Path, images: Path | None) -> Labels:
    """The labels of an export. Choice: of a task's annotations, the first that was not cancelled counts.

    Raises:
        UserError: a file or an image is missing or malformed, or an instance has a keypoint twice.
    """
    folder, left_out, pictures = images or path.parent, Counter[str](), []
    files = defaultdict(list)
    for file in Path(os.path.abspath(folder)).rglob("*"):
        if file.suffix.lower() in SUFFIXES:
            files[file.name].append(file)
    tasks = read_json(path)
    with parsing(path, "an export of Label Studio in the form JSON"):
        for i, task in enumerate(tasks):
            with parsing(f"{path}: task {i}", "one of Label Studio's export in the form JSON"):
                results = [a["result"] for a in task["annotations"] if not a.get("was_cancelled")]
                if results:
                    picture = _picture(_image(task["data"], files, folder), results[0])
                    picture.instances.extend(_instances(path, picture, results[0], left_out))
                    pictures.append(picture)
                else:
                    left_out["tasks without an annotation"] += 1
    return labels_without_splits(pictures, left_out)


def _image(data: dict[str, Any], files: dict[str, list[Path]], folder: Path) -> Path:
    """The file of a task's image.

    Its name is that in the task, with or without the prefix of uploads. Of several files with that name, it is the one
    whose folders agree most with the path in the task.
    """
    urls = [unquote(value) for value in data.values() if isinstance(value, str)]
    places = [(url.partition("?d=")[2] or url.partition("?")[0]).replace("\\", "/") for url in urls]
    names = [place for place in places if Path(place).suffix.lower() in SUFFIXES]
    if not names:
        raise ValueError(f"data {data}, expected the path or URL of an image")
    parts = Path(names[0]).parts
    found = files.get(parts[-1]) or files.get(_UPLOAD_PREFIX.sub("", parts[-1])) or []
    if not found:
        raise UserError(f"the labelled image {names[0]} is not in {folder}; give the folder of the images by --images")
    for length in range(1, len(parts)):
        if len(found) > 1:
            found = [file for file in found if file.parent.parts[-length:] == parts[-1 - length : -1]] or found
    if len(found) > 1:
        raise UserError(f"{folder} has {len(found)} images {parts[-1]}; give a folder with one by --images")
    return found[0]


def _picture(image: Path, results: list[Any]) -> Picture:
    regions = [result for result in results if result["type"] in (_KEYPOINT, _RECTANGLE)]
    if any(region.get("image_rotation") for region in regions):
        raise ValueError(f"an image_rotation other than 0: turn {image.name} back in Label Studio")
    sizes = [[region["original_width"], region["original_height"]] for region in regions]
    return read_picture(image, sizes[0] if sizes else None)


def _instances(path: Path, picture: Picture, results: list[Any], left_out: Counter[str]) -> list[Instance]:
    instances: dict[str | None, Instance] = {}
    links, hidden = defaultdict(list), set()
    for result in results:
        kind = result["type"]
        if kind == _RECTANGLE:
            box = _box(result["value"], picture)
            instances[result["id"]] = Instance(str(result["value"][_RECTANGLE][0]), {}, box)
        elif kind == "relation":
            links[result["from_id"]].append(result["to_id"])
            links[result["to_id"]].append(result["from_id"])
        elif kind == "choices" and HIDDEN & {str(choice).lower() for choice in result["value"]["choices"]}:
            hidden.add(result["id"])
        elif kind.endswith("labels") and kind != _KEYPOINT:
            left_out[f"regions of type {kind}"] += 1
    if not instances:
        instances[None] = Instance(UNNAMED, {}, None)
    for result in results:
        if result["type"] == _KEYPOINT:
            value, i = result["value"], result.get("id")
            x, y = _pixels(value["x"], value["y"], picture)
            owner = _owner([result.get("parentID"), *links[i]], x, y, instances)
            if owner is None:
                left_out["keypoints outside all rectangles of their image"] += 1
            else:
                _check_unique(name := str(value[_KEYPOINT][0]), owner, path, picture)
                owner.points[name] = (x, y, 1 if i in hidden else 2)
    return [instance for instance in instances.values() if instance.box or instance.points]


def _check_unique(name: str, owner: Instance, path: Path, picture: Picture) -> None:
    if name in owner.points:
        raise UserError(
            f"{path}: {picture.path.name} has two keypoints {name!r} of one instance; draw a rectangle for each "
            "instance in Label Studio, or make it the parent of its keypoints"
        )


def _owner(linked: list[Any], x: float, y: float, instances: dict[str | None, Instance]) -> Instance | None:
    """The instance that a keypoint belongs to; None if there are several boxes and it is in none of them."""
    known = [instances[i] for i in linked if i in instances]
    if known or len(instances) == 1:
        return (known or list(instances.values()))[0]
    around = []
    for instance in instances.values():
        left, top, width, height = instance.box or (0, 0, 0, 0)
        if left <= x <= left + width and top <= y <= top + height:
            around.append((width * height, instance))
    return min(around, key=lambda pair: pair[0])[1] if around else None


def _pixels(x: Any, y: Any, picture: Picture) -> tuple[float, float]:
    x, y = numbers([x, y], 2)
    return x * picture.width / 100, y * picture.height / 100


def _box(value: dict[str, Any], picture: Picture) -> tuple[float, float, float, float]:
    """The box around a rectangle that is rotated clockwise about its upper left corner."""
    x, y = _pixels(value["x"], value["y"], picture)
    width, height = _pixels(value["width"], value["height"], picture)
    (degrees,) = numbers([value.get("rotation") or 0], 1)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    sides = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ [[cos, sin], [-sin, cos]]
    (left, top), (w, h) = sides.min(axis=0).tolist(), np.ptp(sides, axis=0).tolist()
    return x + left, y + top, w, h


READ = read
