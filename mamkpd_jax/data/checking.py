"""Checks an annotation file and its images before training, and reports what it finds."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from mamkpd_jax.data.annotation_files import read_json
from mamkpd_jax.data.builders.coco_form import unusable
from mamkpd_jax.data.builders.images import ImageFile, read_image
from mamkpd_jax.data.findings import OUTCOMES
from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.data.labels import Labels, size_of, usable_labels
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeleton_files import describe_flips, one_sided
from mamkpd_jax.skeletons import Skeleton
from mamkpd_jax.visualize import FAR_PX, contact_sheet, draw_region

_SAMPLES, _COLUMNS, _TILE_HW = 8, 4, (360, 360)
_MARGIN = 0.15  # around a box, as a fraction of its longer side
_SMALL_PX = 32  # a box with a smaller longer side counts as small
_GREEN = (0, 158, 115)
_MEANINGS = {"refused": "to be repaired", "derived": "made from other fields", "ignored": "not trained on"}


class Instance(NamedTuple):
    """A person or an animal to train on, with its image file."""

    annotation: dict[str, Any]
    path: Path
    image: ImageFile


class Checked(NamedTuple):
    """The result of `check`: labels, usable images and instances to train on."""

    labels: Labels
    images: list[ImageFile]  # the usable ones; `content` is empty, because all of them would fill the memory
    instances: list[Instance]
    dropped: Counter[str]  # number of unusable annotations by reason

    @property
    def usable(self) -> bool:
        """Whether the data set can be trained on."""
        return bool(self.instances) and not self.labels.findings.of("refused")


def check(annotations: Path, folder: Path, skeleton: Skeleton | None, exif: str) -> Checked:
    """Reads an annotation file and all of its images. The labels' `findings` list their problems.

    Args:
        annotations: the annotation file.
        folder: the folder of its images.
        skeleton: None: the skeleton of the file's categories.
        exif: STORED or UPRIGHT, the way to read images whose labelled size fits both.

    Raises:
        UserError: the file is not an annotation file in COCO's form, or the folder is missing.
    """
    labels = usable_labels(annotations, read_json(annotations), skeleton)
    if not os.path.isdir(folder):
        raise UserError(f"--images: {folder} is not a folder; give the folder of the annotated images")
    for name in [] if skeleton else one_sided(labels.skeleton):
        labels.findings.add("refused", "keypoint with a side: expected its mirror image, or a skeleton file", name)
    images = _read_images(labels, folder, exif)
    paths = {image["id"]: folder / image["file_name"] for image in labels.images}
    instances, dropped = [], Counter[str]()
    for annotation in labels.annotations:
        image_id = annotation["image_id"]
        if image_id in images:
            height, width = images[image_id].size_hw
            reason = unusable(annotation, {"height": height, "width": width})
            if reason is None:
                instances.append(Instance(annotation, paths[image_id], images[image_id]))
            else:
                dropped[reason] += 1
                if reason == "degenerate box":
                    where = f"annotation {annotation['id']}"
                    labels.findings.add("ignored", "box without an area inside its image", where)
    return Checked(labels, list(images.values()), instances, dropped)


def _read_images(labels: Labels, folder: Path, exif: str) -> dict[int, ImageFile]:
    """The usable images by id, without their content."""

    def read(image: dict[str, Any]) -> ImageFile | str:
        path = folder / image["file_name"]
        if not os.path.isfile(path):
            return f"{image['file_name']} is missing"
        try:
            return read_image(path, size_of(image), exif=exif)._replace(content=b"")
        except UserError as error:
            return str(error).partition(";")[0]

    found, findings = {}, labels.findings
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        files = tqdm(
            threads.map(read, labels.images), total=len(labels.images), unit="image", disable=None, leave=False
        )
        for image, file in zip(labels.images, files, strict=True):
            if isinstance(file, str):
                findings.add("refused", "image: expected a file of the labelled size below the image folder", file)
                continue
            found[image["id"]] = file
            if file.rotated:
                findings.add("noted", file.rotation, image["file_name"])
    return found


def report(checked: Checked) -> str:
    """The report as text: counts, mirror pairs, edges, sizes, keypoints, and the findings by outcome."""
    labels, n = checked.labels, len(checked.instances)
    dropped = "".join(f", {count} dropped: {reason}" for reason, count in checked.dropped.items())
    left_out = f", {labels.left_out} left out" if labels.left_out else ""
    lines = [
        f"{len(labels.images)} images, {n} instances to train on{dropped}{left_out}",
        describe_flips(labels.skeleton),
    ]
    names = labels.skeleton.joints
    if labels.skeleton.edges:
        lines.append("edges: " + ", ".join(f"{names[a]} - {names[b]}" for a, b in labels.skeleton.edges))
    lines += _size_lines(checked) + _keypoint_lines(checked)
    for outcome in OUTCOMES:
        if found := labels.findings.of(outcome):
            lines.append(f"{outcome} ({_MEANINGS[outcome]})" if outcome in _MEANINGS else outcome)
            lines += [f"  {finding}" for finding in found]
    return "\n".join(lines)


def _size_lines(checked: Checked) -> list[str]:
    if not checked.instances:
        return []
    images = np.array([image.size_hw for image in checked.images])
    low, high = images.min(axis=0), images.max(axis=0)
    sides = np.sort([max(instance.annotation["bbox"][2:]) for instance in checked.instances])
    return [
        f"images: {low[1]} to {high[1]} pixels wide, {low[0]} to {high[0]} high",
        f"boxes: the longer side has {sides[0]:.0f} to {sides[-1]:.0f} pixels, half of them at least "
        f"{np.median(sides):.0f}; {(sides < _SMALL_PX).sum()} have less than {_SMALL_PX}",
    ]


def _keypoint_lines(checked: Checked) -> list[str]:
    """A line for each keypoint, with the number that `samples` draws."""
    visibility = np.array([instance.annotation["keypoints"][2::3] for instance in checked.instances])
    names = checked.labels.skeleton.joints
    visibility = visibility.reshape(-1, len(names))
    width = max(map(len, names))
    lines = [f"   {'keypoint':{width}} labelled  of these hidden"]
    for i, name in enumerate(names):
        labelled, hidden = int((visibility[:, i] > 0).sum()), int((visibility[:, i] == 1).sum())
        lines.append(f"{i:2} {name:{width}} {labelled:8} {hidden:8}{'' if labelled else '   never labelled'}")
    return lines


def samples(checked: Checked) -> UInt8[np.ndarray, "h w 3"]:
    """An RGB image of up to eight instances with box, keypoints and keypoint numbers.

    Images that could be read stored or upright are drawn both ways, stored at the left.
    """
    unclear = [instance for instance in checked.instances if instance.image.is_unclear]
    clear = [instance for instance in checked.instances if not instance.image.is_unclear]
    places = np.unique(np.linspace(0, max(len(clear) - 1, 0), _SAMPLES).astype(int)) if clear else []
    chosen = (unclear[: _SAMPLES // 2] + [clear[place] for place in places])[:_SAMPLES]
    tiles = [_draw(instance, checked.labels.skeleton) for instance in chosen]
    return contact_sheet(tiles, tile_hw=_TILE_HW, columns=_COLUMNS)


def _draw(instance: Instance, skeleton: Skeleton) -> UInt8[np.ndarray, "h w 3"]:
    image, content = instance.image, instance.path.read_bytes()
    x, y, width, height = instance.annotation["bbox"]
    margin = _MARGIN * max(width, height)
    region = int(x - margin), int(y - margin), int(x + width + margin) + 1, int(y + height + margin) + 1
    corners = np.clip([[x, y], [x + width, y + height]], -FAR_PX, FAR_PX).round().astype(int).tolist()
    views = []
    for upright in (False, True) if image.is_unclear else (image.upright,):
        pixels = decode_image(content, upright=upright)
        thickness = max(1, round(min(max(width, height), *pixels.shape[:2]) / 150))
        cv2.rectangle(pixels, corners[0], corners[1], _GREEN, thickness)
        shown = (0, 0, *pixels.shape[1::-1]) if image.is_unclear else region
        style = {"height_px": _TILE_HW[0], "threshold": 0.0, "label": "index"}
        views.append(draw_region(pixels, shown, [instance.annotation["keypoints"]], skeleton, **style))
    return np.concatenate(views, axis=1)
