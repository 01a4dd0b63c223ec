"""`synthetic_people`: procedural pictures of people in COCO's form, drawn while the data set is built."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import tensorflow_datasets as tfds

from mamkpd_jax.data.builders.coco_form import CocoFormBuilder
from mamkpd_jax.data.synthesis import Person, Scene, render_scene
from mamkpd_jax.skeletons import COCO

SIZE_HW = (192, 256)
_SEEDS = {"train": 1, "val": 2}
_JPEG_QUALITY = 95


class SyntheticPeople(CocoFormBuilder):
    """`n_train` and `n_val` pictures; the two splits come from different seeds."""

    skeleton = COCO

    # Of the pictures: to be raised when they change, so that older ones are not taken for these.
    VERSION = tfds.core.Version("1.1.0")

    def __init__(self, n_train: int, n_val: int, data_dir: Path):
        self._n = {"train": n_train, "val": n_val}
        super().__init__(f"{n_train}_{n_val}", data_dir)

    def splits(self) -> tuple[str, ...]:
        return tuple(_SEEDS)

    def examples(self, split: str) -> Iterator[tuple[dict[str, Any], bytes, list[dict[str, Any]]]]:
        height, width = SIZE_HW
        annotation_ids = itertools.count(1)
        for index in range(self._n[split]):
            scene = render_scene(_SEEDS[split], index, SIZE_HW)
            image = {"id": index, "file_name": f"{split}_{index:06}.jpg", "height": height, "width": width}
            yield image, jpeg(scene), [_annotation(person, index, next(annotation_ids)) for person in scene.people]


def jpeg(scene: Scene) -> bytes:
    """The picture as a JPEG file."""
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def _annotation(person: Person, image_id: int, annotation_id: int) -> dict[str, Any]:
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": int((person.keypoints[:, 2] > 0).sum()),
        "area": person.area_px,
        "bbox": person.box_xywh.tolist(),
        "keypoints": person.keypoints.ravel().tolist(),
    }
