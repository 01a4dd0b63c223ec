"""Converts MPII's official release into annotation files for training and evaluation.

The files have the form of the HRNet repository (arXiv 1902.09212). Pixel coordinates count from 1 in all of them.

Only the release's training images have labels, so the validation split is a part of them. A person list in HRNet's form
can define the split and its order, which makes scores comparable with published ones.
Choice: without a list, a digest of the video selects one video in seven, so that a video's frames are in one split.
"""

import dataclasses
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat, savemat

from mamkpd_jax.data.annotation_files import check_persons, read_json
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_folder
from mamkpd_jax.skeletons import MPII

_VALIDATION_EVERY = 7  # one video in this many is for validation
_SAME_PLACE_PX = 1.0  # lists round coordinates


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A labelled person: its entry in HRNet's list, its head box (x1, y1, x2, y2) in pixels, and its video."""

    entry: dict[str, Any]
    head_box: list[float]
    video: str


def convert(release: Path, root: Path, validation: Path | None = None) -> dict[str, int]:
    """Writes `root`/annot atomically, and returns the counts of persons in each split and of dropped ones by reason.

    Raises:
        UserError: `release` or `validation` is not such a file, or `root`/annot exists already.
    """
    annot = root / "annot"
    if annot.exists():
        raise UserError(f"{annot} already exists; move it away, or give another folder by --root")
    persons, dropped = read_release(release)
    if validation is None:
        valid = [person for person in persons if zlib.crc32(person.video.encode()) % _VALIDATION_EVERY == 0]
    else:
        valid = _listed(persons, validation)
    images = {person.entry["image"] for person in valid}
    train = [person for person in persons if person.entry["image"] not in images]
    with atomic_folder(annot) as partial:
        for name, part in (("train.json", train), ("valid.json", valid)):
            (partial / name).write_text(json.dumps([person.entry for person in part]), encoding="utf-8")
        savemat(partial / "gt_valid.mat", _truth(valid))
    others = len(persons) - len(train) - len(valid)
    if others:
        dropped["in a validation image, but not in the list"] = others
    return {"train": len(train), "valid": len(valid)} | {f"dropped: {why}": n for why, n in dropped.items()}


def read_release(path: Path) -> tuple[list[Person], Counter[str]]:
    """The labelled persons of the training images, in the release's order, and the counts of others by what they lack.

    Raises:
        UserError: `path` is not MPII's release.
    """
    persons, dropped = [], Counter[str]()
    try:
        release = loadmat(path, simplify_cells=True)["RELEASE"]
        for image, is_train in zip(_elements(release["annolist"]), np.atleast_1d(release["img_train"]), strict=True):
            name, video = image["image"]["name"], image.get("vidx")
            for rect in _elements(image["annorect"]) if is_train else []:
                person = _person(name, rect, str(video) if isinstance(video, int) else name)
                if isinstance(person, Person):
                    persons.append(person)
                else:
                    dropped[person] += 1
    except Exception as error:  # the reader raises all kinds of errors for a damaged file
        raise UserError(
            f"{path} can't be read ({type(error).__name__}: {error}); give MPII's mpii_human_pose_v1_u12_1.mat"
        ) from error
    if not persons:
        raise UserError(f"{path} has no labelled person; give MPII's mpii_human_pose_v1_u12_1.mat")
    return persons, dropped


def _person(image: str, rect: dict[str, Any], video: str) -> Person | str:
    """A person of the release, or what it lacks. A joint in the file counts as labelled, visible or not."""
    annopoints, place = rect.get("annopoints"), rect.get("objpos")
    points = _elements(annopoints["point"]) if isinstance(annopoints, dict) else []
    if not points:
        return "no joints"
    if not isinstance(place, dict) or not np.isscalar(rect.get("scale")):
        return "no position or scale"
    head_box = [rect.get(side) for side in ("x1", "y1", "x2", "y2")]
    if not all(np.isscalar(side) for side in head_box):
        return "no head box"
    head_box = np.array(head_box, np.float64).tolist()
    if head_box[0] >= head_box[2] or head_box[1] >= head_box[3]:
        return "a head box without an area"
    joints, visible = np.full((MPII.n_joints, 2), -1.0), [0] * MPII.n_joints
    for point in points:
        joints[point["id"]], visible[point["id"]] = (point["x"], point["y"]), 1
    entry = {
        "image": image,
        "scale": float(rect["scale"]),
        "center": [float(place["x"]), float(place["y"])],
        "joints": joints.tolist(),
        "joints_vis": visible,
    }
    return Person(entry=entry, head_box=head_box, video=video)


def _elements(value: Any) -> list[dict[str, Any]]:
    """The elements of a struct array. The reader returns a single one without a list, and none as an empty array."""
    return [value] if isinstance(value, dict) else list(value)


def _listed(persons: Sequence[Person], path: Path) -> list[Person]:
    """The persons of the release that a list in HRNet's form names, matched by image and centre."""
    wanted = read_json(path)
    check_persons(path, wanted, MPII.n_joints)
    by_image: dict[str, list[Person]] = {}
    for person in persons:
        by_image.setdefault(person.entry["image"], []).append(person)
    listed = []
    for i, entry in enumerate(wanted):
        centre, near = entry["center"], by_image.get(entry["image"], [])
        same = [p for p in near if np.linalg.norm(np.subtract(p.entry["center"], centre)) < _SAME_PLACE_PX]
        if not same:
            raise UserError(
                f"{path}: person {i}, of {entry['image']}, is not in the release; give a list of this release's persons"
            )
        listed.append(same[0])
    return listed


def _truth(persons: Sequence[Person]) -> dict[str, np.ndarray]:
    """The arrays of gt_valid.mat, as `annotation_files.read_mpii_truth` reads them."""
    joints = np.array([person.entry["joints"] for person in persons])
    missing = 1 - np.array([person.entry["joints_vis"] for person in persons])
    heads = np.array([person.head_box for person in persons]).reshape(-1, 2, 2)
    return {
        "pos_gt_src": joints.transpose(1, 2, 0),
        "jnt_missing": missing.T.astype(np.uint8),
        "headboxes_src": heads.transpose(1, 2, 0),
    }
