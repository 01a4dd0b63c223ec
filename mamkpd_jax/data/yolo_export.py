"""Converts annotation files in COCO's keypoint form to YOLO's pose labels, in Ultralytics' form."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from mamkpd_jax.data.annotation_files import read_json
from mamkpd_jax.data.builders.images import UPRIGHT, read_image
from mamkpd_jax.data.imports._labels import parsing
from mamkpd_jax.data.imports.yolo import label_file
from mamkpd_jax.data.labels import Labels, read_labels, size_of
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_folder
from mamkpd_jax.skeleton_files import find_skeleton, has_keypoints
from mamkpd_jax.skeletons import Skeleton


def export_yolo(
    files: dict[str, Path], images: Path, output: Path, skeleton_name: str = "", *, exif: str = UPRIGHT
) -> Counter[str]:
    """Writes data.yaml, images/SPLIT and labels/SPLIT to a new folder. Returns counts of images and instances.

    Choice: images are copied, so that the folder can be moved to another machine. Crowds are left out. Boxes are
    clipped to the image, and keypoints outside it become unlabelled, because Ultralytics drops images with values
    outside.

    Args:
        files: annotation files by split.
        images: the folder of the images.
        output: the folder to write.
        skeleton_name: a skeleton's name or file; empty: the skeleton of the categories.
        exif: UPRIGHT or STORED, the way to read images whose labelled size fits both.

    Returns:
        The numbers of images by split, of instances, of crowds left out and of keypoints that became unlabelled.

    Raises:
        UserError: a file is missing or invalid, or the folder exists already. Then it writes nothing.
    """
    if output.exists():
        raise UserError(f"{output} already exists; move it away, or give another folder by --output")
    categories, skeleton = _categories(files, skeleton_name)
    counts, copies, texts = Counter[str](), {}, {}
    for split, path in files.items():
        labels = read_labels(path, skeleton)
        counts[f"images of {split}"] = len(labels.images)
        lines = {}
        for image in labels.images:
            copy, text = _output_paths(path, split, image["file_name"])
            if text in texts:
                raise UserError(f"{path}: {image['file_name']} and another image would share a label file; rename one")
            copies[copy] = images / image["file_name"]
            image["height"], image["width"] = _upright_size(copies[copy], image, exif)
            lines[image["id"]] = texts[text] = []
        _add_lines(path, labels, list(categories), lines, counts)
    with atomic_folder(output) as folder:
        for copy, source in copies.items():
            (folder / copy).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / copy)
        for text, lines in texts.items():
            (folder / text).parent.mkdir(parents=True, exist_ok=True)
            (folder / text).write_text("".join(lines), encoding="utf-8")
        fields = _data_yaml(list(files), list(categories.values()), skeleton)
        (folder / "data.yaml").write_text(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return counts


def _upright_size(path: Path, image: dict[str, Any], exif: str) -> tuple[int, int]:
    """The height and width of an upright image. Raises UserError if its labels refer to the stored pixels."""
    file = read_image(path, size_of(image), exif=exif)
    if file.rotated and not file.upright:
        raise UserError(
            f"{path}: its labels refer to the stored pixels, but Ultralytics would apply the EXIF rotation; remove the "
            "image's EXIF data"
        )
    return file.size_hw


def _categories(files: dict[str, Path], skeleton_name: str) -> tuple[dict[int, str], Skeleton]:
    """The categories with keypoints, names by id in the order of the classes, and their skeleton."""
    names: dict[str, dict[int, str]] = {}
    for split, path in files.items():
        with parsing(path, "an annotation file in COCO's form with categories"):
            categories = read_json(path)["categories"]
            with_keypoints = [c for c in categories if has_keypoints(c)] or categories
            names[split] = {int(c["id"]): str(c["name"]) for c in with_keypoints}
    first, *others = files
    for split in others:
        if names[split] != names[first]:
            raise UserError(f"{files[first]} and {files[split]} have different categories; give files of one data set")
    skeleton = find_skeleton(skeleton_name, read_json(files[first])["categories"])
    return dict(sorted(names[first].items())), skeleton


def _add_lines(path: Path, labels: Labels, ids: list[int], lines: dict[int, list[str]], counts: Counter[str]) -> None:
    """Appends the annotations to the lines of their images, and counts them."""
    images = {image["id"]: image for image in labels.images}
    for annotation in labels.annotations:
        if annotation["category_id"] not in ids:
            raise UserError(
                f"{path}: annotation {annotation['id']} has the category_id {annotation['category_id']}, and the file "
                "has no such category; repair the file"
            )
        if annotation["iscrowd"]:
            counts["crowds left out"] += 1
            continue
        counts["instances"] += 1
        image, number = images[annotation["image_id"]], ids.index(annotation["category_id"])
        lines[image["id"]].append(_line(annotation, number, image, counts))


def _line(annotation: dict[str, Any], number: int, image: dict[str, Any], counts: Counter[str]) -> str:
    width, height = image["width"], image["height"]
    x, y, w, h = annotation["bbox"]
    left, right = (min(max(side, 0), width) for side in (x, x + w))
    top, bottom = (min(max(side, 0), height) for side in (y, y + h))
    values = [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height]
    text = f"{number} " + " ".join(f"{value:.9f}" for value in values)
    for px, py, visibility in zip(*[iter(annotation["keypoints"])] * 3, strict=True):
        inside = 0 <= px <= width and 0 <= py <= height
        if visibility and not inside:
            counts["keypoints outside their image, now unlabelled"] += 1
        text += f" {px / width:.9f} {py / height:.9f} {visibility}" if visibility and inside else " 0 0 0"
    return text + "\n"


def _output_paths(path: Path, split: str, name: str) -> tuple[Path, Path]:
    """The paths of an image and of its label file, relative to the output folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{path}: the image {name} is outside the images' folder; name files relative to it")
    copy = Path("images") / split / name
    return copy, label_file(copy)


def _data_yaml(splits: list[str], names: list[str], skeleton: Skeleton) -> dict[str, Any]:
    return {
        **{split: f"images/{split}" for split in splits},
        "kpt_shape": [skeleton.n_joints, 3],
        "flip_idx": list(skeleton.flip_indices),
        "names": dict(enumerate(names)),
        "kpt_names": {i: list(skeleton.joints) for i in range(len(names))},
    }
