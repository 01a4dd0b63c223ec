"""Boxes from a file in COCO's form, of detections or of annotations."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mamkpd_jax.data.annotation_files import detections_of, read_json
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import Boxes, as_boxes
from mamkpd_jax.skeleton_files import skeleton_of_category
from mamkpd_jax.skeletons import Skeleton


class BoxesFile:
    """The bounding boxes of images, by the images' file names.

    A detection (image_id, category_id, bbox, score) belongs to the image whose file name ends in the number image_id,
    such as COCO's 000000000785.jpg, or to the one that its 'file_name' names. An annotation file (images, annotations,
    categories) names its images itself; its boxes have the score 1, and its joints must be those of the model.

    Args:
        category_id: boxes of other categories are left out.

    Raises:
        UserError: the file is of another form, has no box of the category, or is about other joints.
    """

    def __init__(self, path: Path, category_id: int, skeleton: Skeleton):
        self._path = path
        self._ids: dict[str, int] = {}  # of the images that the file names
        content = read_json(path)
        detections = self._detections_of(content, category_id, skeleton) if isinstance(content, dict) else content
        self._boxes: dict[str | int | None, list[tuple[list[float], float]]] = defaultdict(list)
        detections = detections_of(path, detections, by_name=True)
        for box in detections:
            if box["category_id"] == category_id:
                self._boxes[box.get("file_name", box.get("image_id"))].append((box["bbox"], box["score"]))
        if not self._boxes:
            found = ", ".join(map(str, sorted({box["category_id"] for box in detections}))) or "none at all"
            raise UserError(f"{path} has no box of category {category_id}, but of {found}; set --category")

    def check(self, pictures: Sequence[Path]) -> None:
        """Raises UserError if the file has boxes of none of the pictures, or can't tell two of them apart."""
        seen: dict[str | int | None, Path] = {}
        for picture in pictures:
            key = self._key(picture)
            if key in self._boxes and seen.setdefault(key, picture) != picture:
                raise UserError(f"{self._path} can't tell {picture} from {seen[key]}; give them one folder at a time")
        if not seen:
            raise UserError(
                f"{self._path} has boxes of {len(self._boxes)} images, the first {next(iter(self._boxes))}, and of "
                f"none of the {len(pictures)} pictures, the first {pictures[0].name}; images are matched by the "
                "trailing number of their file name, or by 'file_name'"
            )

    def image_id(self, picture: Path) -> int | None:
        """The image_id that the file gives a picture; None if it doesn't name the picture."""
        return self._ids.get(picture.name)

    def of(self, picture: Path) -> Boxes:
        """The boxes of a picture."""
        rows = self._boxes.get(self._key(picture), [])
        return as_boxes([xywh for xywh, _ in rows], [score for _, score in rows])

    def _key(self, picture: Path) -> str | int | None:
        return picture.name if picture.name in self._boxes else trailing_number(picture)

    def _detections_of(self, content: dict[str, Any], category_id: int, skeleton: Skeleton) -> list[dict[str, Any]]:
        try:
            for category in content.get("categories", []):
                joints = skeleton_of_category(category).joints if "keypoints" in category else skeleton.joints
                if category["id"] == category_id and joints != skeleton.joints:
                    raise UserError(
                        f"{self._path}: category {category_id} has the {len(joints)} joints {', '.join(joints)}; the "
                        f"checkpoint finds the {skeleton.n_joints} of {skeleton.name}, so it is for another data set"
                    )
            names = {image["id"]: Path(image["file_name"]).name for image in content["images"]}
            self._ids = {name: image_id for image_id, name in names.items()}
            return [
                {"file_name": names[a["image_id"]], "category_id": a["category_id"], "bbox": a["bbox"], "score": 1.0}
                for a in content["annotations"]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self._path} is neither a list of detections nor an annotation file in COCO's form "
                f"({type(error).__name__}: {error})"
            ) from error


def trailing_number(picture: Path) -> int | None:
    """The number at the end of a picture's file name, without its suffix."""
    digits = re.search(r"(\d{1,18})$", picture.stem)
    return int(digits[1]) if digits else None
