"""Converts the releases of Leeds Sports Pose Extended and Animal-Pose into annotation files in COCO's form.

Choice: the images, sorted by name, are split in blocks, because neighbours often show one scene. The fourth block of
every ten is for validation. The eighth of every twenty is in neither file, as for the shipped models.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mamkpd_jax.data.annotation_files import read_arrays, read_json
from mamkpd_jax.data.builders.images import check_folder, read_image
from mamkpd_jax.data.functional import BODY_AREA, box_around, clip_box
from mamkpd_jax.data.labels import usable_labels
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_write
from mamkpd_jax.skeletons import ANIMALPOSE, LSPET, Skeleton

_LSPET = "Leeds Sports Pose Extended"


class Pose(NamedTuple):
    """The keypoints of a person or an animal."""

    image: str
    category: int
    keypoints: Float[np.ndarray, "joints 3"]  # x, y, labelled; pixels count from 0
    box: Float[np.ndarray, "4"] | None  # x, y, width, height; None: the release has none


class Release(NamedTuple):
    """The content of a release, and how it is split and filtered."""

    skeleton: Skeleton
    categories: list[dict[str, Any]]  # in COCO's form
    images: list[str]
    poses: list[Pose]
    block: int  # images in a block
    min_labelled: int  # keypoints that a pose must have to be kept


def convert(folder: Path, root: Path) -> dict[str, int]:
    """Writes two annotation files to `root`, and returns the counts of poses in each and of dropped ones by reason.

    Raises:
        UserError: the release is damaged or incomplete, or the annotation files exist already. Nothing is written.
    """
    release = read_release(folder)
    paths = {split: root / f"{release.skeleton.name}_{split}.json" for split in ("train", "val")}
    for path in paths.values():
        if path.exists():
            raise UserError(f"{path} already exists; move it away, or give another folder by --root")
    if not (folder / "images").is_dir():
        raise UserError(f"the image folder {folder / 'images'} is missing; unpack the release's images there")
    ids = {name: i for i, name in enumerate(sorted(set(release.images)), start=1)}
    splits = {name: split_of_block((i - 1) // release.block) for name, i in ids.items()}
    check_folder(folder / "images", sorted({pose.image for pose in release.poses if splits[pose.image]}))
    images: dict[int, dict[str, Any]] = {}
    kept: dict[str, list[dict[str, Any]]] = {split: [] for split in paths}
    dropped = Counter[str]()
    for i, pose in enumerate(release.poses, start=1):
        image_id, split = ids[pose.image], splits[pose.image]
        if split is None:
            dropped["in neither split"] += 1
            continue
        if image_id not in images:
            height, width = read_image(folder / "images" / pose.image).size_hw
            images[image_id] = {"id": image_id, "file_name": pose.image, "height": height, "width": width}
        annotation = _annotation(i, pose, images[image_id], release.min_labelled)
        if isinstance(annotation, str):
            dropped[annotation] += 1
        else:
            kept[split].append(annotation)
    contents = {}
    for split, path in paths.items():
        if not kept[split]:
            raise UserError(f"{folder} has no pose for {path.name}; give the complete release")
        listed = [images[i] for i in dict.fromkeys(annotation["image_id"] for annotation in kept[split])]
        contents[split] = {"images": listed, "annotations": kept[split], "categories": release.categories}
        usable_labels(path, contents[split], release.skeleton).findings.check()
    with atomic_write(paths["train"]) as train, atomic_write(paths["val"]) as val:
        train.write_text(json.dumps(contents["train"]), encoding="utf-8")
        val.write_text(json.dumps(contents["val"]), encoding="utf-8")
    counts = {split: len(annotations) for split, annotations in kept.items()}
    return counts | {f"dropped: {why}": n for why, n in dropped.items()}


def read_release(folder: Path) -> Release:
    """Reads the annotation file of an unpacked release.

    Raises:
        UserError: `folder` has neither release, or its annotation file is damaged.
    """
    if (folder / "joints.mat").is_file():
        return _read_lspet(folder / "joints.mat")
    if (folder / "keypoints.json").is_file():
        return _read_animalpose(folder / "keypoints.json")
    raise UserError(
        f"{folder} has neither joints.mat nor keypoints.json; give the unpacked {_LSPET} or Animal-Pose by --release"
    )


def split_of_block(block: int) -> str | None:
    """The split of a block of images, by its index from 0; None if it is in neither split."""
    return "val" if block % 10 == 3 else None if block % 20 == 7 else "train"


def _read_lspet(path: Path) -> Release:
    """The content of joints.mat.

    Choice: pixel coordinates count from 1, as in MATLAB and in the shipped models' training data. The release does not
    specify it.
    """
    (joints,) = read_arrays(path, "joints")
    if joints.ndim != 3 or joints.shape[:2] != (LSPET.n_joints, 3):
        raise UserError(f"{path} has joints of shape {joints.shape}; expected (14, 3, images): give {_LSPET}'s file")
    persons = joints.transpose(2, 0, 1) - [1, 1, 0]
    images = [f"im{i:05d}.jpg" for i in range(1, len(persons) + 1)]
    poses = [Pose(image, 1, person, None) for image, person in zip(images, persons, strict=True)]
    return Release(LSPET, [_category(1, "person", LSPET)], images, poses, block=100, min_labelled=6)


def _read_animalpose(path: Path) -> Release:
    """The content of keypoints.json.

    Choice: pixel coordinates are used unchanged, as in the shipped models' training data. The release does not specify
    their origin.
    """
    content = read_json(path)
    try:
        images = {int(i): str(name) for i, name in content["images"].items()}
        categories = {c["id"]: _category(c["id"], c["name"], ANIMALPOSE) for c in content["categories"]}
        poses = []
        for annotation in content["annotations"]:
            x1, y1, x2, y2 = (float(side) for side in annotation["bbox"])
            keypoints = np.array(annotation["keypoints"], np.float64).reshape(ANIMALPOSE.n_joints, 3)
            category = categories[annotation["category_id"]]["id"]
            box = np.array([x1, y1, x2 - x1, y2 - y1])
            poses.append(Pose(images[annotation["image_id"]], category, keypoints, box))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is not in Animal-Pose's form ({reason}); give its keypoints.json") from error
    return Release(ANIMALPOSE, list(categories.values()), list(images.values()), poses, block=40, min_labelled=3)


def _annotation(i: int, pose: Pose, image: dict[str, Any], min_labelled: int) -> dict[str, Any] | str:
    """A pose in COCO's form, or why it is dropped. Choice: a keypoint outside its image counts as unlabelled."""
    height, width, points = image["height"], image["width"], pose.keypoints[:, :2]
    inside = ((points >= 0) & (points <= [width - 1, height - 1])).all(axis=1)
    labelled = inside & (pose.keypoints[:, 2] > 0)
    if labelled.sum() < min_labelled:
        return f"fewer than {min_labelled} labelled keypoints"
    box = clip_box(box_around(points[labelled]) if pose.box is None else pose.box, height, width)
    if not (box[2:] > 0).all():
        return "a box without an area"
    return {
        "id": i,
        "image_id": image["id"],
        "category_id": pose.category,
        "iscrowd": 0,
        "bbox": box.tolist(),
        "area": float(BODY_AREA * box[2] * box[3]),
        "num_keypoints": int(labelled.sum()),
        "keypoints": np.column_stack([np.where(labelled[:, None], points, 0), 2 * labelled]).ravel().tolist(),
    }


def _category(i: int, name: str, skeleton: Skeleton) -> dict[str, Any]:
    edges = [[a + 1, b + 1] for a, b in skeleton.edges]  # COCO's count from 1
    return {"id": i, "name": name, "keypoints": list(skeleton.joints), "skeleton": edges}
