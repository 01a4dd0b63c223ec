"""Random access to a built data set: one item an instance, or one a detected box."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from mamkpd_jax.data.annotation_files import NO_ANNOTATION, are_numbers, is_id, read_json
from mamkpd_jax.data.builders.coco_form import CocoFormBuilder
from mamkpd_jax.data.functional import clip_box
from mamkpd_jax.errors import UserError

# image bytes, image_id, file_name, height_px, width_px, category_id, annotation_id, bbox float64 [4], score
Item = dict[str, Any]


class InstanceSource:
    """The instances of a split, with ground-truth boxes; items have keypoints float64 [j, 3] too."""

    def __init__(self, builder: CocoFormBuilder, split: str):
        # Read through TFDS's own reader, which can be sent to worker processes; a builder of ours can't.
        reader = tfds.builder_from_directory(builder.data_path)
        # Decoding in TFDS is 14 times slower than reading, and the crops decode by OpenCV.
        decoders = {"image": tfds.decode.SkipDecoding()}
        self._records: Any = reader.as_data_source(split=split, decoders=decoders)  # type: ignore[call-arg]
        self._clips_boxes = builder.CLIPS_BOXES
        self._instances = np.array(reader.info.metadata["instances"][split])  # type: ignore[index]

    def __len__(self) -> int:
        return len(self._instances)

    @property
    def n_images(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Item:
        record, place = self._instances[index]
        content = self._records[int(record)]
        item = image_item(content)
        annotation = json.loads(content["annotations"])[place]
        box = np.array(annotation["bbox"], np.float64)
        return item | {
            "category_id": annotation["category_id"],
            "annotation_id": annotation["id"],
            "bbox": clip_box(box, item["height_px"], item["width_px"]) if self._clips_boxes else box,
            "score": 1.0,
            "keypoints": np.array(annotation["keypoints"], np.float64).reshape(-1, 3),
        }

    def record(self, i: int) -> dict[str, Any]:
        """A record as it is stored: an image and all of its annotations."""
        return self._records[i]

    def ground_truth(self) -> dict[str, list[dict[str, Any]]]:
        """The whole split in COCO's annotation form, crowds included."""
        images, annotations = [], []
        for content in (self._records[i] for i in range(len(self._records))):
            item = image_item(content)
            images.append(
                {
                    "id": item["image_id"],
                    "file_name": item["file_name"],
                    "height": item["height_px"],
                    "width": item["width_px"],
                }
            )
            annotations += json.loads(content["annotations"])
        return {"images": images, "annotations": annotations}


class DetectionSource:
    """Detected boxes of a split's images, from a file in COCO's detection form.

    Boxes are taken as they are, not clipped, whatever their score. Those of categories that the split lacks are left
    out, as of all but persons where the detector knows more.
    """

    def __init__(self, source: InstanceSource, path: Path):
        self._source = source
        self._record_of = {int(source.record(i)["image/id"]): i for i in range(source.n_images)}
        boxes = _read_detections(path)
        categories = {annotation["category_id"] for annotation in source.ground_truth()["annotations"]}
        self._boxes = [box for box in boxes if box["category_id"] in categories]
        if not self._boxes:
            known = ", ".join(map(str, sorted(categories)))
            raise UserError(f"config.eval.detections: {path} has no box of category {known}; give a detections file")
        if left_out := len(boxes) - len(self._boxes):
            logging.info("%s: %d of %d boxes left out, of categories that the split lacks", path, left_out, len(boxes))
        unknown = [box["image_id"] for box in self._boxes if box["image_id"] not in self._record_of]
        if unknown:
            raise UserError(
                f"{path}: {len(unknown)} of {len(self._boxes)} boxes are of images that the data set lacks, the first "
                f"of image {unknown[0]}; give the detections of this split"
            )

    def __len__(self) -> int:
        return len(self._boxes)

    def __getitem__(self, index: int) -> Item:
        box = self._boxes[index]
        content = self._source.record(self._record_of[box["image_id"]])
        return image_item(content) | {
            "category_id": box["category_id"],
            "annotation_id": NO_ANNOTATION,
            "bbox": np.array(box["bbox"], np.float64),
            "score": float(box["score"]),
        }


def image_item(content: dict[str, Any]) -> Item:
    """What an item tells of its image."""
    return {
        "image": content["image"],
        "image_id": int(content["image/id"]),
        "file_name": content["image/file_name"].decode(),
        "height_px": int(content["image/height"]),
        "width_px": int(content["image/width"]),
    }


def _read_detections(path: Path) -> list[dict[str, Any]]:
    boxes = read_json(path)
    for i, box in enumerate(boxes if isinstance(boxes, list) else [None]):
        if not (
            isinstance(box, dict)
            and is_id(box.get("image_id"))
            and is_id(box.get("category_id"))
            and are_numbers([box.get("score")], 1)
            and are_numbers(box.get("bbox"), 4)
            and min(box["bbox"][2:]) > 0
        ):
            raise UserError(
                f"{path}: entry {i} is no detection; expected image_id, category_id, score and a bbox of x, y, width "
                "and height in finite numbers"
            )
    return boxes
