"""Reads a built data set: its instances, its ground truth and the boxes to evaluate on."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from jaxtyping import Float

from mamkpd_jax.data.annotation_files import SplitBox, box_fault, detections_of, read_json
from mamkpd_jax.data.builders.coco_form import CocoFormBuilder, unusable
from mamkpd_jax.data.functional import clip_box
from mamkpd_jax.errors import UserError

# Fields: image (bytes), image_id, file_name, height_px, width_px, upright, category_id, annotation_id,
# bbox float64 [4], score, keypoints float64 [j, 3]
Item = dict[str, Any]


class InstanceSource:
    """A sequence of the instances of a split, with ground-truth boxes."""

    def __init__(self, builder: CocoFormBuilder, split: str):
        # TFDS's reader can be sent to worker processes; the builder can't.
        reader = tfds.builder_from_directory(builder.data_path)
        # Decoding in TFDS is 14 times slower than reading. The crops decode with OpenCV.
        decoders = {"image": tfds.decode.SkipDecoding()}
        self._records: Any = reader.as_data_source(split=split, decoders=decoders)  # type: ignore[call-arg]
        self._clips_boxes = builder.CLIPS_BOXES
        self._instances = np.array(reader.info.metadata["instances"][split])  # type: ignore[index]
        self._ground_truth_path = builder.ground_truth_path(split)

    def __len__(self) -> int:
        return len(self._instances)

    @property
    def n_images(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Item:
        record, place = self._instances[index]
        item = self.image(int(record))
        annotation = json.loads(item.pop("instances"))[place]
        return item | {
            "category_id": annotation["category_id"],
            "annotation_id": annotation["id"],
            "bbox": self._box(annotation, item["height_px"], item["width_px"]),
            "score": 1.0,
            "keypoints": np.array(annotation["keypoints"], np.float64).reshape(-1, 3),
        }

    def image(self, record: int) -> dict[str, Any]:
        """The fields of an image: its bytes, id, file name, size, and whether its EXIF rotation must be applied.

        `instances` is the JSON text of its instances' annotations.

        Args:
            record: index of the image in the split.
        """
        content = self._records[record]
        return {
            "image": content["image"],
            "image_id": int(content["image/id"]),
            "file_name": content["image/file_name"].decode(),
            "height_px": int(content["image/height"]),
            "width_px": int(content["image/width"]),
            "upright": bool(content["image/upright"]),
            "instances": content["instances"],
        }

    @functools.cached_property
    def ground_truth(self) -> dict[str, list[dict[str, Any]]]:
        """The images of the split, in the order of the records, and its annotations in COCO's form, crowds included."""
        return read_json(self._ground_truth_path)

    def boxes(self) -> list[SplitBox]:
        """The ground-truth boxes of the instances, in the same order."""
        records = {image["id"]: (record, image) for record, image in enumerate(self.ground_truth["images"])}
        boxes = []
        for annotation in self.ground_truth["annotations"]:
            record, image = records[annotation["image_id"]]
            if unusable(annotation, image) is None:
                box = self._box(annotation, image["height"], image["width"])
                boxes.append(SplitBox(record, box, 1.0, image["id"], annotation["category_id"], annotation["id"]))
        return boxes

    def _box(self, annotation: dict[str, Any], height: int, width: int) -> Float[np.ndarray, "4"]:
        box = np.array(annotation["bbox"], np.float64)
        return clip_box(box, height, width) if self._clips_boxes else box


def read_detections(source: InstanceSource, path: Path) -> list[SplitBox]:
    """The boxes of a file in COCO's detection form, neither clipped nor filtered by score.

    Boxes of categories that the split lacks are left out, because a detector may find more than persons. So are
    unusable boxes, such as those of zero size.

    Raises:
        UserError: the file has another form, boxes of images that the split lacks, or only boxes of other categories.
    """
    entries = detections_of(path, read_json(path))
    truth = source.ground_truth
    categories = {annotation["category_id"] for annotation in truth["annotations"]}
    boxes = [entry for entry in entries if entry["category_id"] in categories]
    if entries and not boxes:
        known = ", ".join(map(str, sorted(categories)))
        raise UserError(f"config.eval.detections: {path} has no box of category {known}; give a detections file")
    if left_out := len(entries) - len(boxes):
        logging.info("%s: %d of %d boxes left out: their category is not in the split", path, left_out, len(entries))
    records = {image["id"]: (record, image) for record, image in enumerate(truth["images"])}
    if unknown := [box["image_id"] for box in boxes if box["image_id"] not in records]:
        raise UserError(
            f"{path}: {len(unknown)} of {len(boxes)} boxes are of images that the data set lacks, the first "
            f"of image {unknown[0]}; give the detections of this split"
        )
    found, faults = [], []
    for box in boxes:
        record, image = records[box["image_id"]]
        if fault := box_fault(box["bbox"], box["score"], (image["height"], image["width"])):
            faults.append(f"of image {image['id']} {fault}")
        else:
            xywh = np.array(box["bbox"], np.float64)
            found.append(SplitBox(record, xywh, box["score"], image["id"], box["category_id"]))
    if faults:
        logging.warning("%s: %d of %d boxes left out, the first: %s", path, len(faults), len(boxes), faults[0])
    if not found:
        logging.warning("%s: no usable box, so every score is 0", path)
    return found
