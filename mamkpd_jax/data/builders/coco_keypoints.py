"""COCO keypoints 2017 from the official files: annotations/person_keypoints_*2017.json, train2017/, val2017/."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mamkpd_jax.data.builders.coco_form import CocoFormBuilder
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import COCO

_SPLITS = ("train", "val")
_TAIL_BYTES = 4096
_HINT = "give the folder of COCO's official files by --config.data.root"


class CocoKeypoints(CocoFormBuilder):
    """COCO keypoints 2017. The configuration's name is a digest of the annotations: changed ones are built anew."""

    SKELETON = COCO

    def __init__(self, root: Path, data_dir: Path):
        self._root = root
        if not root.is_dir():
            raise UserError(f"the data folder {root} does not exist; {_HINT}")
        digest = hashlib.sha256()
        for split in _SPLITS:
            path = self._annotation_file(split)
            if not path.is_file():
                raise UserError(f"{path} is missing; {_HINT}")
            digest.update(path.read_bytes())
        super().__init__(digest.hexdigest()[:16], data_dir)

    def splits(self) -> tuple[str, ...]:
        return _SPLITS

    def examples(self, split: str) -> Iterator[tuple[dict[str, Any], bytes, list[dict[str, Any]]]]:
        path = self._annotation_file(split)
        try:
            data = json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"{path} is no complete JSON ({error}); copy it again") from error
        check(path, data, self.SKELETON.n_joints)
        self._check_images(split, data["images"])
        by_image = defaultdict(list)
        for annotation in data["annotations"]:
            by_image[annotation["image_id"]].append(annotation)
        for image in data["images"]:
            yield image, self._read(self._folder(split) / image["file_name"]), by_image[image["id"]]

    def _read(self, path: Path) -> bytes:
        content = path.read_bytes()
        if not content.startswith(b"\xff\xd8") or b"\xff\xd9" not in content[-_TAIL_BYTES:]:
            raise UserError(f"{path} is a truncated or damaged JPEG ({len(content)} bytes); copy it again")
        return content

    def _annotation_file(self, split: str) -> Path:
        return self._root / "annotations" / f"person_keypoints_{split}2017.json"

    def _folder(self, split: str) -> Path:
        return self._root / f"{split}2017"

    def _check_images(self, split: str, images: list[dict[str, Any]]) -> None:
        folder = self._folder(split)
        if not folder.is_dir():
            raise UserError(f"the image folder {folder} is missing; {_HINT}")
        there = {path.name for path in folder.iterdir()}
        absent = [image["file_name"] for image in images if image["file_name"] not in there]
        if absent:
            raise UserError(
                f"{folder} lacks {len(absent)} of the {len(images)} annotated images, the first {absent[0]}; "
                "copy the images completely"
            )


def check(path: Path, data: Any, n_joints: int) -> None:
    """Raises UserError with the first reason why a file's content is no keypoint annotation list in COCO's form."""
    for field in ("images", "annotations"):
        if not isinstance(data, dict) or not isinstance(data.get(field), list):
            raise UserError(f"{path} has no list {field!r}; expected a keypoint annotation file in COCO's form")
    image_fields = {"id": int, "file_name": str, "height": int, "width": int}
    number = (int, float)
    fields = {"id": int, "image_id": int, "category_id": int, "iscrowd": int, "num_keypoints": int, "area": number}
    ids = _check_entries(path, "image", data["images"], image_fields)
    _check_entries(path, "annotation", data["annotations"], fields | {"bbox": list, "keypoints": list})
    for annotation in data["annotations"]:
        what = f"{path}: annotation {annotation['id']}"
        if annotation["image_id"] not in ids:
            raise UserError(f"{what} names image {annotation['image_id']}, which is not in the file's list of images")
        for field, length in (("bbox", 4), ("keypoints", 3 * n_joints)):
            values = annotation[field]
            if len(values) != length or not all(isinstance(value, number) for value in values):
                raise UserError(f"{what} has a {field} of {len(values)} values; expected {length} numbers")


def _check_entries(path: Path, kind: str, entries: list, fields: dict[str, Any]) -> set[int]:
    ids = set()
    for i, entry in enumerate(entries):
        for field, types in fields.items():
            if not isinstance(entry, dict) or not isinstance(entry.get(field), types):
                raise UserError(f"{path}: {kind} {i} has no valid field {field!r}; copy or repair the file")
        if entry["id"] in ids:
            raise UserError(f"{path}: two {kind}s have the id {entry['id']}; ids must be unique")
        ids.add(entry["id"])
    return ids
