"""Reads bounding boxes from COCO files of detections or annotations."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from mamkpd_jax.data.annotation_files import as_id, detections_of, read_json
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import Boxes, as_boxes
from mamkpd_jax.inference.matching import match_numbers, match_paths, parts_of
from mamkpd_jax.skeleton_files import has_keypoints, indices_by_name, names_of
from mamkpd_jax.skeletons import Skeleton


class PictureBoxes(NamedTuple):
    """A picture's boxes from a file, and its image_id there."""

    boxes: Boxes
    image_id: int | None  # None if the file has none


@dataclasses.dataclass(slots=True)
class _Image:
    ids: set[int] = dataclasses.field(default_factory=set)
    rows: list[tuple[list[float], float]] = dataclasses.field(default_factory=list)  # boxes and scores


class BoxesFile:
    """A file of bounding boxes of images. Crowd regions are left out, because they are not single instances.

    An annotation file (images, annotations, categories) names its images; its boxes have the score 1. Its keypoints
    must be the model's, in any order. A detection (image_id, category_id, bbox, score) may have a 'file_name'.

    Choice: `match_paths` matches pictures by path. If no detection has a 'file_name', as in COCO's files, pictures are
    matched by number, but only if their names are plain numbers, such as 000000000785.jpg, which are unambiguous.

    Args:
        category_id: boxes of other categories are left out.
        by_number: match image_ids with the trailing number of each picture's file name, whatever precedes it.

    Raises:
        UserError: the file has another format, boxes of other categories only, or other keypoints than the model.
    """

    def __init__(self, path: Path, category_id: int, skeleton: Skeleton, *, by_number: bool = False):
        self.path = path
        self._by_number = by_number
        content = read_json(path)
        images, entries = [], content
        if isinstance(content, dict):
            images, entries = self._read_annotations(content, category_id, skeleton)
        entries = detections_of(path, entries, by_name=True)
        self._named = not by_number and any(_name(entry) for entry in [*images, *entries])
        self._images: dict[str | int, _Image] = {}  # by file name where the file has names, else by image_id
        for image in images:
            self._image_of(image)
        categories = set()
        for entry in entries:
            image = self._image_of(entry)
            if not entry.get("iscrowd"):
                categories.add(entry["category_id"])
                image.rows += [(entry["bbox"], entry["score"])] if entry["category_id"] == category_id else []
        if crowds := sum(bool(entry.get("iscrowd")) for entry in entries):
            logging.info("%s: %d crowd regions are left out", path, crowds)
        if not categories:
            logging.warning("%s has no boxes: no poses will be found", path)
        elif category_id not in categories:
            found = ", ".join(map(str, sorted(categories)))
            raise UserError(f"{path} has no box of category {category_id}, only of {found}; set --category")

    def match(self, folder: Path, pictures: Sequence[str]) -> dict[str, PictureBoxes]:
        """The boxes of each picture; empty for a picture that is not in the file.

        Args:
            folder: what the pictures' names are relative to.

        Raises:
            UserError: the file has none of the pictures, or a match is ambiguous.
        """
        try:
            if self._named:
                found = match_paths(folder, pictures, map(str, self._images))
            else:
                found = match_numbers(pictures, self._images, plain=not self._by_number)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from error
        if self._images and not found:
            first, how = next(iter(self._images)), "path" if self._named else "the number at the end of the file name"
            raise UserError(
                f"{self.path}: none of its {len(self._images)} images (the first is {first}) matches any of the "
                f"{len(pictures)} pictures (the first is {pictures[0]}) by {how}; give boxes of these pictures"
            )
        return {p: self._boxes(p, self._images[found[p]] if p in found else _Image()) for p in pictures}

    def _boxes(self, picture: str, image: _Image) -> PictureBoxes:
        if len(image.ids) > 1:
            a, b, *_ = sorted(image.ids)
            raise UserError(
                f"{self.path}: {picture} may be image {a} or {b}, which have the same file_name; rename one"
            )
        boxes = as_boxes([xywh for xywh, _ in image.rows], [score for _, score in image.rows])
        return PictureBoxes(boxes, next(iter(image.ids), None))

    def _image_of(self, entry: dict[str, Any]) -> _Image:
        """The image of an entry, created on first use."""
        key = _name(entry) if self._named else entry.get("image_id")
        if key is None:
            missing, remedy = ("file_name", ", or set --match=number") if self._named else ("image_id", "")
            raise UserError(f"{self.path}: an entry has no {missing} ({entry}); give it to all of them{remedy}")
        image = self._images.setdefault(key, _Image())
        if entry.get("image_id") is not None:
            image.ids.add(entry["image_id"])
        return image

    def _read_annotations(
        self, content: dict[str, Any], category_id: int, skeleton: Skeleton
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The images of an annotation file, and its annotations as detections."""
        try:
            for category in content.get("categories", []):
                if self._id(category["id"]) == category_id and has_keypoints(category):
                    self._check_keypoints(category, skeleton)
            images = {}
            for image in content["images"]:
                number = self._id(image["id"])
                if number in images:
                    raise UserError(f"{self.path}: two images have the id {number}; give each image a unique id")
                images[number] = {"image_id": number, "file_name": image["file_name"]}
            annotations = [
                {
                    **images[self._id(a["image_id"])],
                    **{"category_id": self._id(a["category_id"]), "bbox": a["bbox"], "score": 1.0},
                    "iscrowd": self._crowd(a.get("iscrowd")),
                }
                for a in content["annotations"]
            ]
            return list(images.values()), annotations
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self.path} is neither a list of detections nor an annotation file in COCO's format "
                f"({type(error).__name__}: {error})"
            ) from error

    def _check_keypoints(self, category: dict[str, Any], skeleton: Skeleton) -> None:
        joints = names_of(category)
        try:
            places = indices_by_name(joints, skeleton)
        except UserError as error:
            raise UserError(
                f"{self.path}: category {category['id']} has the {len(joints)} keypoints {', '.join(joints)}; the "
                f"model predicts the {skeleton.n_joints} of {skeleton.name}; give a model for the file's keypoints, or "
                "detections (boxes without keypoints)"
            ) from error
        if places != tuple(range(skeleton.n_joints)):
            logging.warning("%s has the keypoints in another order; results have the model's order", self.path)

    def _id(self, value: Any) -> int:
        number = as_id(value)
        if number is None:
            raise UserError(f"{self.path}: an id is {value!r}; expected a whole number")
        return number

    def _crowd(self, value: Any) -> bool:
        if value not in (None, 0, 1):
            raise UserError(f"{self.path}: an annotation has iscrowd {value!r}; expected 0 or 1")
        return bool(value)


def _name(entry: dict[str, Any]) -> str | None:
    """The normalized path of an entry's image; None without a file_name."""
    name = entry.get("file_name")
    return "/".join(parts_of(name)) or None if isinstance(name, str) else None
