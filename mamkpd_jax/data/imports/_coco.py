"""Writes imported labels as annotation files in COCO's keypoint form."""

import contextlib
import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mamkpd_jax.data.functional import BODY_AREA, box_around, clip_box
from mamkpd_jax.data.imports._labels import Category, Instance, Labels, Picture
from mamkpd_jax.data.labels import usable_labels
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_write
from mamkpd_jax.skeleton_files import make_skeleton, skeleton_of_category


class Written(NamedTuple):
    """The result of `write`."""

    files: dict[Path, tuple[int, int]]  # by annotation file: numbers of images and instances
    skeleton: Path | None  # a file with the mirror pairs, where the keypoints' names don't define them
    images: Path  # the folder that the images' file names are relative to
    left_out: Counter[str]  # number of labels by the reason to leave them out


def write(labels: Labels, output: Path) -> Written:
    """Writes SPLIT.json for each split, and skeleton.json if the keypoints' names don't define the mirror pairs.

    Raises:
        UserError: no keypoint is labelled, categories have different keypoints, a split has an image twice, or a file
            exists already. Then it writes nothing.
    """
    pictures = [picture for split in labels.splits.values() for picture in split]
    if not any(instance.points for picture in pictures for instance in picture.instances):
        raise UserError(f"the {len(pictures)} labelled images have no keypoint; label keypoints before the import")
    categories, skeleton = _categories(labels)
    folder = Path(os.path.commonpath([picture.path.parent for picture in pictures]))
    contents = _splits(labels, folder, left_out := Counter(labels.left_out))
    for path, content in contents.items():
        usable_labels(output / path, content | {"categories": categories}).findings.check()
    files = {output / name: (len(c["images"]), len(c["annotations"])) for name, c in contents.items()}
    contents = {name: content | {"categories": categories} for name, content in contents.items()}
    _write_new(output, contents | ({"skeleton.json": skeleton} if skeleton else {}))
    path = output / "skeleton.json" if skeleton else None
    return Written(files, path, folder, left_out)


def _categories(labels: Labels) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The categories in COCO's form, and the content of skeleton.json, None if the names define the mirror pairs."""
    first = labels.categories[0]
    for other in labels.categories:
        if other.keypoints != first.keypoints:
            raise UserError(
                f"the categories {first.name} and {other.name} have different keypoints, and a model has one set; "
                "keep the labels of one of them"
            )
    categories = [
        {"id": i, "name": c.name, "keypoints": list(c.keypoints), "skeleton": [[a + 1, b + 1] for a, b in c.edges]}
        for i, c in enumerate(labels.categories, start=1)
    ]
    by_names = skeleton_of_category(categories[0])  # also raises UserError for two keypoints with the same name
    if labels.flip_pairs is None:
        return categories, None
    fields = {
        "joints": list(first.keypoints),
        "flip_pairs": [list(pair) for pair in labels.flip_pairs],
        "edges": [list(edge) for edge in first.edges],
    }
    same = make_skeleton(first.name, fields).flip_indices == by_names.flip_indices
    return categories, None if same else fields


def _splits(labels: Labels, folder: Path, left_out: Counter[str]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The images and annotations of each file, with ids that are unique across the files; counts in `left_out`."""
    categories = {category.name: (i, category) for i, category in enumerate(labels.categories, start=1)}
    image_ids, annotation_ids = itertools.count(1), itertools.count(1)
    contents = {}
    for split, pictures in labels.splits.items():
        images: dict[Path, dict[str, Any]] = {}
        annotations = []
        for picture in pictures:
            if picture.path in images:
                raise UserError(f"{picture.path} is labelled twice; keep one of its labels")
            name = picture.path.relative_to(folder).as_posix()
            image = {"id": next(image_ids), "file_name": name, "height": picture.height, "width": picture.width}
            images[picture.path] = image
            for instance in picture.instances:
                i, category = categories[instance.category]
                fields = _annotation(instance, category, picture)
                if isinstance(fields, str):
                    left_out[fields] += 1
                else:
                    ids = {"id": next(annotation_ids), "image_id": image["id"], "category_id": i}
                    annotations.append(ids | fields)
        contents[f"{split}.json"] = {"images": list(images.values()), "annotations": annotations}
    return contents


def _annotation(instance: Instance, category: Category, picture: Picture) -> dict[str, Any] | str:
    """The annotation of an instance, without ids; or the reason why the instance can't be one."""
    box = instance.box
    if box is None:
        if not instance.points:
            return "instances without keypoint and box"
        around = box_around(np.array([point[:2] for point in instance.points.values()], np.float64))
        box = tuple(clip_box(around, picture.height, picture.width).tolist())
        if not min(box[2:]) > 0:
            return "instances outside their image"
    area = BODY_AREA * box[2] * box[3] if instance.area is None else instance.area
    keypoints = [value for name in category.keypoints for value in instance.points.get(name, (0.0, 0.0, 0))]
    return {
        "iscrowd": int(instance.is_crowd),
        "bbox": list(box),
        "area": area,
        "num_keypoints": len(instance.points),
        "keypoints": keypoints,
    }


def _write_new(output: Path, contents: dict[str, Any]) -> None:
    """Writes all JSON files, or none if one of them exists or can't be written."""
    for name in contents:
        if (output / name).exists():
            raise UserError(f"{output / name} already exists; move it away, or give another folder by --output")
    with contextlib.ExitStack() as files:
        for name, content in contents.items():
            temporary = files.enter_context(atomic_write(output / name))
            temporary.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
