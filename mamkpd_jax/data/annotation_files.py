"""Reads and checks the annotation files of the data sets, before a build or an evaluation uses them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy  # not scipy.io: that import takes a quarter of a second, and scipy loads it at first use
from jaxtyping import Float

from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import MPII

NO_ANNOTATION = -1  # the annotation_id of a detected box
_NUMBER = (int, float)
_MAX_ABS = 1e9  # no pixel coordinate is larger, and products of larger numbers overflow
_PERSON_FIELDS = {"image": str, "scale": _NUMBER, "center": list, "joints": list, "joints_vis": list}


class SplitBox(NamedTuple):
    """A bounding box to evaluate on, in an image of a split."""

    record: int  # index of its image in the split
    xywh: Float[np.ndarray, "4"]  # x, y, width, height in pixels, float64
    score: float
    image_id: int
    category_id: int
    annotation_id: int = NO_ANNOTATION  # the annotation that the box belongs to


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: the file is missing or not complete JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not complete JSON ({error}); copy it again") from error


def check_persons(path: Path, persons: Any, n_joints: int) -> None:
    """Raises UserError for the first fault of a list of MPII's persons in the HRNet repository's form.

    Args:
        path: the file that messages name.
        persons: its content.
    """
    if not isinstance(persons, list):
        raise UserError(f"{path} is not a list; expected MPII's persons in the form of the HRNet repository")
    for i, person in enumerate(persons):
        _check_fields(path, "person", i, person, _PERSON_FIELDS)
        if not (
            are_numbers(person["center"], 2)
            and are_numbers([person["scale"]], 1)
            and len(person["joints"]) == n_joints
            and all(isinstance(joint, list) and are_numbers(joint, 2) for joint in person["joints"])
            and are_numbers(person["joints_vis"], n_joints)
        ):
            raise UserError(
                f"{path}: person {i} has an invalid center, scale, joints or joints_vis; expected finite numbers and "
                f"{n_joints} joints; copy or repair the file"
            )


def detections_of(path: Path, entries: Any, *, by_name: bool = False) -> list[dict[str, Any]]:
    """The detections of a file in COCO's form, with integer ids. `box_fault` checks their boxes.

    Args:
        path: the file that messages name.
        entries: its content.
        by_name: accept a 'file_name' in place of the image_id.

    Raises:
        UserError: an entry is not a detection.
    """
    found = []
    for i, entry in enumerate(entries if isinstance(entries, list) else [{}]):
        ids = _ids(entry, by_name) if isinstance(entry, dict) else None
        if ids is None or not _is_scored_box(entry):
            image = "image_id or file_name" if by_name else "image_id"
            raise UserError(
                f"{path}: entry {i} is not a detection; expected {image}, category_id, score and a bbox of 4 numbers "
                "(x, y, width, height)"
            )
        found.append(entry | ids)
    return found


def box_fault(box: Sequence[int | float], score: int | float, image_hw: tuple[int, int]) -> str | None:
    """The reason why a box (x, y, width, height in pixels) of an image can't be used; None if it can."""
    x, y, width, height = box
    text = "(" + ", ".join(f"{value:g}" for value in box) + ")"
    if not are_numbers([*box, score], 5):
        return f"the box {text} with the score {score:g} is not in finite numbers"
    if not (width > 0 and height > 0):
        return f"the box {text} has no width or height"
    if not (x < image_hw[1] and y < image_hw[0] and x + width > 0 and y + height > 0):
        return f"the box {text} lies outside the image of {image_hw[1]}x{image_hw[0]} pixels"
    return None


def read_mpii_truth(path: Path) -> dict[str, Float[np.ndarray, "..."]]:
    """The ground truth of MPII's gt_valid.mat, in pixels that count from 1.

    Returns:
        joints [n, 16, 2], visible [n, 16] (0 or 1) and head_box [n, 4] (x1, y1, x2, y2), all float64.

    Raises:
        UserError: the file has another form, or a person can't be scored.
    """
    joints, missing, heads = read_arrays(path, "pos_gt_src", "jnt_missing", "headboxes_src")
    n_joints, n = MPII.n_joints, missing.shape[-1] if missing.ndim else 0
    expected = "expected MPII's gt_valid.mat, as in the HRNet repository's annot/ folder"
    if missing.shape != (n_joints, n) or joints.shape != (n_joints, 2, n) or heads.shape != (2, 2, n):
        raise UserError(f"{path} has arrays of shapes {joints.shape}, {missing.shape} and {heads.shape}; {expected}")
    for fault, persons in (
        ("joints that are not finite", ~np.isfinite(joints).all(axis=(0, 1))),
        ("jnt_missing other than 0 and 1", ~np.isin(missing, (0, 1)).all(axis=0)),
        ("a head box that is not finite", ~np.isfinite(heads).all(axis=(0, 1))),
        ("a head box without an area", (heads[1] <= heads[0]).any(axis=0)),
    ):
        if persons.any():
            raise UserError(f"{path}: person {persons.argmax()} has {fault}; {expected}")
    return {
        "joints": joints.transpose(2, 0, 1),
        "visible": 1 - missing.T,
        "head_box": heads.transpose(2, 0, 1).reshape(-1, 4),
    }


def read_arrays(path: Path, *names: str) -> list[Float[np.ndarray, "..."]]:
    """The named arrays of a .mat or .npz file, as float64.

    Raises:
        UserError: the file is missing or damaged, or lacks one of the arrays.
    """
    try:
        content = np.load(path) if path.suffix == ".npz" else scipy.io.loadmat(path)
        return [np.asarray(content[name], np.float64) for name in names]
    except Exception as error:  # a damaged file can raise any kind of error in the readers
        raise UserError(
            f"{path} can't be read ({error}); expected a .mat or .npz file with {', '.join(names)}"
        ) from error


def are_numbers(values: Any, length: int) -> bool:
    """Whether `values` is a list of `length` finite numbers of plausible size (at most 1e9)."""
    if not isinstance(values, list) or len(values) != length:
        return False
    return all(isinstance(v, _NUMBER) and not isinstance(v, bool) and abs(v) <= _MAX_ABS for v in values)


def as_id(value: Any) -> int | None:
    """The value as an integer of at most 63 bits: 3, 3.0 and "3" give 3. None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    return value if type(value) is int and abs(value) < 2**63 else None


def _ids(entry: dict[str, Any], by_name: bool) -> dict[str, int] | None:
    """The ids of a detection; None if one is missing."""
    ids = {field: as_id(entry.get(field)) for field in ("image_id", "category_id")}
    if by_name and ids["image_id"] is None and isinstance(entry.get("file_name"), str):
        del ids["image_id"]
    known = {field: value for field, value in ids.items() if value is not None}
    return known if len(known) == len(ids) else None


def _is_scored_box(entry: dict[str, Any]) -> bool:
    """Whether an entry's box and score are numbers. NaN and infinity pass: `box_fault` reports them."""
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        return False
    return all(type(v) is float or (type(v) is int and abs(v) < 2**63) for v in [*box, entry.get("score")])


def _check_fields(path: Path, kind: str, i: int, entry: Any, fields: dict[str, Any]) -> None:
    for field, types in fields.items():
        value = entry.get(field) if isinstance(entry, dict) else None
        if not isinstance(value, types):
            raise UserError(f"{path}: {kind} {i} has no valid field {field!r}; copy or repair the file")
