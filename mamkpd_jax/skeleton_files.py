"""Skeletons of the user's own data: from the categories of annotation files, and from skeleton files."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from mamkpd_jax.errors import UserError
from mamkpd_jax.keypoint_names import sides
from mamkpd_jax.skeletons import DEFAULT_SIGMA, SKELETONS, Skeleton

_REMEDY = "repair the file, or give a skeleton file"


def find_skeleton(name: str, categories: Any) -> Skeleton:
    """The ready skeleton called `name` or the one in the file `name`; if `name` is empty, that of the categories.

    Raises:
        UserError: the file is not a skeleton, no category names keypoints, or categories name different ones.
    """
    if name in SKELETONS:
        return SKELETONS[name]
    if name:
        return read_skeleton(Path(name))
    found = [skeleton_of_category(c) for c in categories if has_keypoints(c)] if isinstance(categories, list) else []
    if not found:
        raise UserError(
            "no category of the annotations has a list 'keypoints' of names; add it, or give a skeleton file"
        )
    if len({skeleton.joints for skeleton in found}) != 1:
        raise UserError(
            f"the {len(found)} categories of the annotations have different keypoints; give the name of a ready "
            "skeleton or a skeleton file"
        )
    return found[0]


def has_keypoints(category: Any) -> bool:
    """Whether a category names keypoints. Many exporters write a parent category first, which names none."""
    return isinstance(category, dict) and bool(category.get("keypoints"))


def names_of(category: dict[str, Any]) -> list[str]:
    """The names of a category's keypoints.

    Raises:
        UserError: its 'keypoints' are not a list of names.
    """
    joints = category.get("keypoints")
    if not isinstance(joints, list) or not all(isinstance(joint, str) for joint in joints):
        raise UserError(f"the 'keypoints' of a category are {joints!r}; expected a list of names: {_REMEDY}")
    return joints


def indices_by_name(names: Sequence[str], skeleton: Skeleton) -> tuple[int, ...]:
    """The index in `names` of each of the skeleton's joints, whatever the spelling.

    Raises:
        UserError: `names` are not those of the skeleton's joints, each once.
    """
    ours, theirs = skeleton.joints, tuple(names)
    if sorted(ours) != sorted(theirs):
        ours, theirs = skeleton.meanings, sides(theirs).meanings
    if sorted(ours) == sorted(theirs) and len(set(ours)) == len(ours):
        return tuple(map(theirs.index, ours))
    other = [name for name, key in zip(names, theirs, strict=True) if key not in ours]
    lacking = [name for name, key in zip(skeleton.joints, ours, strict=True) if key not in theirs]
    reasons = [f"{verb} {_first_of(found)}" for verb, found in (("have", other), ("lack", lacking)) if found]
    raise UserError(
        f"the keypoints are not those of the skeleton {skeleton.name!r}: the labels "
        f"{' and '.join(reasons) or 'have two keypoints that mean the same'}; give the skeleton of these labels, or "
        "rename the keypoints of the category"
    )


def _first_of(names: Sequence[str]) -> str:
    """The first name, and how many others there are."""
    return repr(names[0]) + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


def skeleton_of_category(category: Any) -> Skeleton:
    """The skeleton of a category in COCO's form, from its 'keypoints' and, if there is one, its 'skeleton'.

    Flip pairs are found from the names. Choice: a sigma of 0.05 for every joint, and no upper and lower body, so that
    there is no half-body augmentation.

    Raises:
        UserError: the category names no keypoints, or its edges are not pairs of their indices.
    """
    fields = category if isinstance(category, dict) else {}
    joints, edges = names_of(fields), fields.get("skeleton") or []
    if not isinstance(edges, list) or not all(_is_pair(edge) for edge in edges):
        raise UserError(f"the 'skeleton' of a category is not a list of pairs of numbers; {_REMEDY}")
    first = _first_index(edges, tuple(joints))
    edges = [[a - first, b - first] for a, b in edges]
    if outside := [end + first for edge in edges for end in edge if not 0 <= end < len(joints)]:
        raise UserError(f"the 'skeleton' of a category names keypoint {outside[0]} of {len(joints)}; {_REMEDY}")
    return make_skeleton(str(fields.get("name")), {"joints": joints, "edges": edges})


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(end) is int for end in value)


def _first_index(edges: Sequence[Sequence[int]], joints: tuple[str, ...]) -> int:
    """The index of the first keypoint in a category's edges: 1 as in COCO, or 0 as many exporters write it.

    Choice: if the numbers fit both, the one with more edges that have a mirror image; if there is no difference, 1.
    """
    ends = {end for edge in edges for end in edge}
    if 0 in ends or len(joints) in ends:
        return 0 if 0 in ends else 1
    mirror = {a: b for pair in sides(joints).pairs for a, b in (pair, pair[::-1])}

    def symmetric(first: int) -> int:
        drawn = {frozenset(end - first for end in edge) for edge in edges}
        return sum(frozenset(mirror.get(end, end) for end in edge) in drawn for edge in drawn)

    return 0 if symmetric(0) > symmetric(1) else 1


def make_skeleton(name: str, fields: Any) -> Skeleton:
    """A skeleton from plain lists: 'joints' are names, 'sigmas' are numbers, and all other fields list joints.

    A joint in a list is a name or an index from 0. Only 'joints' is required. By default, flip pairs are found from the
    names, sigmas are 0.05, and other lists are empty.

    Raises:
        UserError: an unknown field, no joints, a wrong number of sigmas, an unknown joint, or a joint in two pairs.
    """
    joints = fields.get("joints") if isinstance(fields, dict) else None
    known = {field.name for field in dataclasses.fields(Skeleton)} - {"name"}
    # "$schema" points editors to mamkpd_jax/skeleton.schema.json.
    if not _has_names(joints) or fields.keys() - known - {"$schema"}:
        raise UserError(
            f"the skeleton {name} is {fields}; expected a list of joints, and of other fields only "
            f"{', '.join(sorted(known - {'joints'}))}"
        )
    names = tuple(joints)
    sigmas = fields.get("sigmas", [DEFAULT_SIGMA] * len(names))
    if not isinstance(sigmas, list) or not all(type(sigma) in (int, float) for sigma in sigmas):
        raise UserError(f"the skeleton {name} has the sigmas {sigmas}; expected a list of numbers")
    lists = _Lists(name, names, fields)
    skeleton = Skeleton(
        name=name,
        joints=names,
        flip_pairs=lists.pairs("flip_pairs") if "flip_pairs" in fields else sides(names).pairs,
        sigmas=tuple(map(float, sigmas)),
        upper_body=lists.joints("upper_body"),
        lower_body=lists.joints("lower_body"),
        edges=lists.pairs("edges"),
    )
    check_skeleton(skeleton)
    return skeleton


def _has_names(joints: Any) -> TypeGuard[list[str]]:
    return isinstance(joints, list) and bool(joints) and all(isinstance(joint, str) and joint for joint in joints)


class _Lists:
    """Reads the lists of joints in a skeleton's fields, as indices."""

    def __init__(self, name: str, names: tuple[str, ...], fields: dict[str, Any]):
        self._name, self._names, self._fields = name, names, fields

    def joints(self, field: str) -> tuple[int, ...]:
        return tuple(self._index(field, joint) for joint in self._list(field))

    def pairs(self, field: str) -> tuple[tuple[int, int], ...]:
        found = []
        for pair in self._list(field):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise UserError(f"the skeleton {self._name} has {pair!r} in {field}; expected pairs of joints")
            found.append((self._index(field, pair[0]), self._index(field, pair[1])))
        return tuple(found)

    def _list(self, field: str) -> Sequence[Any]:
        values = self._fields.get(field, [])
        if not isinstance(values, list | tuple):
            raise UserError(f"the skeleton {self._name} has {values!r} as {field}; expected a list")
        return values

    def _index(self, field: str, joint: Any) -> int:
        if isinstance(joint, str) and joint in self._names:
            return self._names.index(joint)
        if type(joint) is int and 0 <= joint < len(self._names):
            return joint
        raise UserError(
            f"the skeleton {self._name} names {joint!r} in {field}; expected the name of one of its joints, or an "
            f"index from 0 to {len(self._names) - 1}"
        )


def check_skeleton(skeleton: Skeleton) -> None:
    """Raises UserError for a repeated name, wrong sigmas, a joint in two flip pairs, or an index out of range."""
    name, n = skeleton.name, skeleton.n_joints
    mirrored = [joint for pair in skeleton.flip_pairs for joint in pair]
    drawn = [joint for edge in skeleton.edges for joint in edge]
    if repeated := [joint for joint in skeleton.joints if skeleton.joints.count(joint) > 1]:
        raise UserError(f"the skeleton {name!r} has two keypoints named {repeated[0]!r}; give each its own name")
    precise = [0 < sigma < math.inf for sigma in skeleton.sigmas]  # False for NaN, which JSON files can hold
    if precise != [True] * n:
        raise UserError(f"the skeleton {name} has the sigmas {skeleton.sigmas}; expected {n} numbers above 0")
    if len(set(mirrored)) != len(mirrored):
        raise UserError(f"the skeleton {name} has a joint in two flip pairs; a joint has one mirror image")
    if not {*mirrored, *drawn, *skeleton.upper_body, *skeleton.lower_body} <= set(range(n)):
        raise UserError(f"the skeleton {name} names joints outside 0 to {n - 1}: indices count from 0")


def read_skeleton(path: Path) -> Skeleton:
    """A skeleton from a JSON file with the fields of `make_skeleton`.

    Raises:
        UserError: the file can't be read, is not JSON, or has a wrong field.
    """
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{path} is not a skeleton file ({reason}); give a JSON file, or one of {', '.join(SKELETONS)}"
        ) from error
    return make_skeleton(path.stem, fields)


def describe_flips(skeleton: Skeleton) -> str:
    """Describes in one line which joints a flip exchanges, for users to check."""
    names, paired = skeleton.joints, {joint for pair in skeleton.flip_pairs for joint in pair}
    alike = [(names[a], names[b]) for a, b in sides(names).alike if not paired & {a, b}]
    doubtful = "".join(f"; {a} and {b} are not a pair, though their names differ only in l and r" for a, b in alike)
    alone = ", ".join(name for i, name in enumerate(names) if i not in paired) or "none"
    if not paired:
        return (
            f"no flip pairs, so that flips exchange none of {alone}; if some mirror each other, list them in a "
            f"skeleton file{doubtful}"
        )
    pairs = ", ".join(f"{names[a]} - {names[b]}" for a, b in skeleton.flip_pairs)
    return f"flip pairs: {pairs}; on the midline: {alone}{doubtful}"


def one_sided(skeleton: Skeleton) -> list[str]:
    """The joints whose names have a side, but that are in no flip pair."""
    paired = {joint for pair in skeleton.flip_pairs for joint in pair}
    return [skeleton.joints[i] for i in sides(skeleton.joints).one_sided if i not in paired]
