"""Reads keypoint annotations in COCO's form, as labelling tools export them.

It derives missing values where it can, and counts every change. docs/your-data.md lists what may be missing.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mamkpd_jax.data.annotation_files import are_numbers, as_id, read_json
from mamkpd_jax.data.findings import Findings, shown
from mamkpd_jax.data.functional import BODY_AREA, box_around
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeleton_files import find_skeleton, has_keypoints, indices_by_name, names_of
from mamkpd_jax.skeletons import Skeleton

IMAGE_FIELDS = ("id", "file_name", "height", "width")
ANNOTATION_FIELDS = ("id", "image_id", "category_id", "iscrowd", "num_keypoints", "area", "bbox", "keypoints")
_MISSING = (None, [], "")
_BOX_TOLERANCE_PX = 2  # how far a box may extend beyond its image without a note


class Labels(NamedTuple):
    """The usable content of an annotation file."""

    images: list[dict[str, Any]]  # with IMAGE_FIELDS; height and width may be None
    annotations: list[dict[str, Any]]  # with ANNOTATION_FIELDS
    skeleton: Skeleton
    left_out: int  # number of annotations of the file that `annotations` lacks
    findings: Findings

    @property
    def content(self) -> dict[str, list[dict[str, Any]]]:
        """Images and annotations in COCO's form."""
        return {"images": self.images, "annotations": self.annotations}


def read_labels(path: Path, skeleton: Skeleton | None = None) -> Labels:
    """The labels of a file, as `usable_labels` returns them.

    Args:
        skeleton: None: the skeleton of the file's categories.

    Raises:
        UserError: the file is missing or damaged, or a field can be neither used nor derived.
    """
    labels = usable_labels(path, read_json(path), skeleton)
    labels.findings.check()
    return labels


def usable_labels(path: Path, content: Any, skeleton: Skeleton | None = None) -> Labels:
    """The labels in a file's content. Entries that can't be used are left out, and are "refused" in the `findings`.

    Args:
        path: the file that messages name.
        content: the decoded JSON.
        skeleton: None: the skeleton of the content's categories. Keypoints in another order are mapped to the
            skeleton's order by their names.

    Raises:
        UserError: the content is not an annotation file in COCO's form, or lacks a skeleton, or its keypoints are not
            those of `skeleton`.
    """
    for field in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(field), list):
            raise UserError(f"{path} has no list {field!r}; expected a keypoint annotation file in COCO's form")
    categories = content.get("categories")
    findings = Findings(path)
    try:
        skeleton = skeleton or find_skeleton("", categories)
        orders = _joint_orders(categories, skeleton, findings)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    images = _images(content["images"], findings)
    left_out = _categories_without_keypoints(categories, findings)
    by_id = {image["id"]: image for image in images}
    reader = _AnnotationReader(by_id, left_out, orders, skeleton.n_joints, findings)
    entries = _entries_with_ids(content["annotations"], "annotation", findings)
    annotations = [a for a in (reader.read(entry) for entry in entries) if a is not None]
    seen = {annotation["image_id"] for annotation in annotations}
    for image in images:
        if image["id"] not in seen:
            findings.add("noted", "image without an annotation", image["file_name"])
    return Labels(images, annotations, skeleton, len(content["annotations"]) - len(annotations), findings)


def size_of(image: dict[str, Any]) -> tuple[int, int] | None:
    """The height and width in an image's entry; None if it lacks them."""
    return (image["height"], image["width"]) if image["height"] else None


def _entries_with_ids(entries: list[Any], kind: str, findings: Findings) -> Iterable[dict[str, Any]]:
    """Yields the entries that are tables with a unique id. Annotations are numbered if none of them has an id."""
    none_has = not any(isinstance(entry, dict) and entry.get("id") is not None for entry in entries)
    seen = set()
    for i, entry in enumerate(entries):
        name = f"{kind} no. {i}"
        if not isinstance(entry, dict):
            findings.refuse(name, "entry", shown(entry), "a table of fields")
            continue
        if none_has and kind == "annotation":
            findings.add("derived", "id missing in all annotations: numbered", name)
            entry = entry | {"id": i + 1}
        number = _id(entry, "id", name, findings)
        if number in seen:
            findings.refuse(f"a second {kind}", "id", shown(number), "one that no other has")
        elif number is not None:
            seen.add(number)
            yield entry | {"id": number}


def _id(entry: dict[str, Any], field: str, name: str, findings: Findings) -> int | None:
    number = as_id(entry.get(field))
    if number is None:
        findings.refuse(name, field, shown(entry.get(field)), "a whole number")
    elif type(entry[field]) is not int:
        findings.add("derived", f"{field} is not an integer: converted", name)
    return number


def _images(entries: list[Any], findings: Findings) -> list[dict[str, Any]]:
    images, names = [], set()
    for entry in _entries_with_ids(entries, "image", findings):
        where, name = f"image {entry['id']}", entry.get("file_name")
        if not isinstance(name, str) or not name or not _is_text(name):
            findings.refuse(where, "file_name", shown(name), "a path in the image folder")
            continue
        if "\\" in name:
            findings.add("derived", "file_name with backslashes: taken as slashes", where)
            name = name.replace("\\", "/")
        if name in names:
            findings.add("noted", "file_name that another image also has", name)
        names.add(name)
        size = {side: _side(entry.get(side), side, where, findings) for side in ("height", "width")}
        if None in size.values():
            findings.add("derived", "height or width missing: that of the image file", where)
            size = dict.fromkeys(size)
        images.append({**entry, **size, "file_name": name})
    return images


def _is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8. JSON allows unpaired surrogates, and UTF-8 does not."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _side(value: Any, side: str, where: str, findings: Findings) -> int | None:
    number = as_id(value)
    if value is None or number == 0:
        return None
    if number is None or not 0 < number < 2**31:
        findings.refuse(where, side, shown(value), "a number of pixels")
        return None
    return number


def _categories_without_keypoints(categories: Any, findings: Findings) -> dict[int, str]:
    """The names by id of the categories without keypoints; empty if no category has keypoints."""
    entries = [c for c in categories if isinstance(c, dict)] if isinstance(categories, list) else []
    if not any(has_keypoints(category) for category in entries):
        return {}
    ids = {as_id(category.get("id")): str(category.get("name")) for category in entries if not has_keypoints(category)}
    for name in ids.values():
        findings.add("ignored", "category without keypoints", name)
    return {number: name for number, name in ids.items() if number is not None}


def _joint_orders(categories: Any, skeleton: Skeleton, findings: Findings) -> dict[int | None, tuple[int, ...]]:
    """For each category with keypoints in another order: the index of each of the skeleton's joints among them."""
    found = {}
    for category in categories if isinstance(categories, list) else []:
        if has_keypoints(category):
            order = indices_by_name(names_of(category), skeleton)
            if order != tuple(range(skeleton.n_joints)):
                found[as_id(category.get("id"))] = order
                what = f"keypoints in another order than the skeleton {skeleton.name}: mapped by name"
                findings.add("derived", what, str(category.get("name")))
    return found


class _AnnotationReader:
    """Reads and completes annotations one by one."""

    def __init__(
        self,
        images: dict[int, dict[str, Any]],
        left_out: dict[int, str],
        orders: dict[int | None, tuple[int, ...]],
        n_joints: int,
        findings: Findings,
    ):
        self._images, self._left_out, self._orders = images, left_out, orders
        self._n_joints, self._findings = n_joints, findings

    def read(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        """The annotation with all of COCO's fields; None if it is left out or refused."""
        where, add = f"annotation {entry['id']}", self._findings.add
        if (category := _id(entry, "category_id", where, self._findings)) is None:
            return None
        if category in self._left_out:
            add("ignored", f"annotation of {self._left_out[category]}, which has no keypoints", where)
            return None
        if (image_id := _id(entry, "image_id", where, self._findings)) is None:
            return None
        if (image := self._images.get(image_id)) is None:
            self._findings.refuse(where, "image_id", shown(image_id), "that of an image in the file's list")
            return None
        keypoints, crowd = self._keypoints(entry, where), self._crowd(entry, where)
        box = self._box(entry, keypoints, image, where)
        if keypoints is None or crowd is None or box is None:
            return None
        if category in self._orders:
            keypoints = [value for i in self._orders[category] for value in keypoints[3 * i : 3 * i + 3]]
        labelled = sum(v > 0 for v in keypoints[2::3])
        if entry.get("num_keypoints") is None:
            add("derived", "num_keypoints missing: counted", where)
        elif entry["num_keypoints"] != labelled:
            add("derived", "num_keypoints other than the labelled keypoints: counted again", where)
        if (area := self._area(entry, box, where)) is None:
            return None
        fields = {"image_id": image_id, "category_id": category, "iscrowd": crowd, "num_keypoints": labelled}
        return {**entry, **fields, "area": area, "bbox": box, "keypoints": keypoints}

    def _keypoints(self, entry: dict[str, Any], where: str) -> list[Any] | None:
        values, length = entry.get("keypoints"), 3 * self._n_joints
        if values in _MISSING:
            self._findings.add("ignored", "annotation without keypoints: not trained on", where)
            return [0] * length
        expected = f"{length} finite numbers, x, y and visibility of {self._n_joints} keypoints"
        if not isinstance(values, list) or len(values) != length:
            found = f"{len(values)} values" if isinstance(values, list) else shown(values)
            self._findings.refuse(where, "keypoints", found, expected)
            return None
        if wrong := [v for v in values[2::3] if isinstance(v, bool) or v not in (0, 1, 2)]:
            self._findings.refuse(where, "visibility", shown(wrong[0]), "0 (unlabelled), 1 (hidden) or 2 (seen)")
            return None
        if not are_numbers(values, length):
            # The coordinates of an unlabelled keypoint don't matter.
            values = [v if values[i // 3 * 3 + 2] else 0 for i, v in enumerate(values)]
            if not are_numbers(values, length):
                self._findings.refuse(where, "keypoints", shown(values), expected)
                return None
            self._findings.add("derived", "unlabelled keypoint without coordinates: set to 0, 0", where)
        return values

    def _crowd(self, entry: dict[str, Any], where: str) -> int | None:
        value = entry.get("iscrowd")
        if value is None:
            self._findings.add("derived", "iscrowd missing: taken as 0", where)
        elif value not in (0, 1):
            self._findings.refuse(where, "iscrowd", shown(value), "0 or 1")
            return None
        if value:
            self._findings.add("ignored", "crowd: not trained on", where)
        return int(value or 0)

    def _box(
        self, entry: dict[str, Any], keypoints: list[Any] | None, image: dict[str, Any], where: str
    ) -> list[Any] | None:
        box = entry.get("bbox")
        if box not in _MISSING and not are_numbers(box, 4):
            self._findings.refuse(where, "bbox", shown(box), "4 finite numbers: x, y, width, height")
            return None
        points = np.array(keypoints or [], np.float64).reshape(-1, 3)
        points = points[points[:, 2] > 0, :2]
        if box in _MISSING or not any(box):
            if not len(points):
                self._findings.add("ignored", "annotation with neither bbox nor labelled keypoint", where)
                return None
            self._findings.add("derived", "bbox missing: around the labelled keypoints", where)
            box = box_around(points).tolist()
        self._note_odd_places(points, box, image, where)
        return box

    def _note_odd_places(
        self, points: Float[np.ndarray, "n 2"], box: list[Any], image: dict[str, Any], where: str
    ) -> None:
        x, y, width, height = box
        if 0 < max(width, height) <= 1:
            self._findings.add("noted", "box of at most 1 pixel: its sides may be fractions of the image's", where)
        if not image["height"]:
            return
        size = np.array([image["width"], image["height"]])
        if ((points < 0) | (points > size)).any():
            self._findings.add("noted", "labelled keypoint outside its image", where)
        if x + width > size[0] + _BOX_TOLERANCE_PX or y + height > size[1] + _BOX_TOLERANCE_PX:
            self._findings.add("noted", "box that reaches outside its image", where)

    def _area(self, entry: dict[str, Any], box: list[Any], where: str) -> int | float | None:
        area = entry.get("area")
        if area is not None and not are_numbers([area], 1):
            self._findings.refuse(where, "area", shown(area), "a finite number of pixels")
            return None
        if area is not None and area > 0:
            return area
        why = "missing" if area is None else "not above 0"
        self._findings.add("derived", f"area {why}: {BODY_AREA} of the box", where)
        return BODY_AREA * max(box[2], 0) * max(box[3], 0)
