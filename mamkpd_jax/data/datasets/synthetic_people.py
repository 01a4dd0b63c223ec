"""`synthetic_people`: procedural images of people in COCO's form, drawn while the data set is built."""

import itertools
import os
from collections.abc import Collection, Iterator
from typing import Any

import cv2
import grain
import tensorflow_datasets as tfds

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_form import CocoFormBuilder
from mamkpd_jax.data.synthesis import Person, Scene, render_scene
from mamkpd_jax.skeletons import COCO

SIZE_HW = (192, 256)
_SEEDS = {"train": 1, "val": 2}
_JPEG_QUALITY = 95


class SyntheticPeople(CocoFormBuilder):
    """Synthetic people. The config sets the number of images, and each split has its seed."""

    skeleton = COCO

    # Increase it when the images or the records change, so that older builds are not used.
    VERSION = tfds.core.Version("2.2.0")

    def __init__(self, data: DataConfig, needed: Collection[str] = ()):
        del needed  # all splits are drawn
        self._n = {"train": data.synthetic_train_images, "val": data.synthetic_val_images}
        super().__init__("_".join(map(str, self._n.values())), data.build_dir)

    def splits(self) -> tuple[str, ...]:
        return tuple(_SEEDS)

    def examples(self, split: str) -> Iterator[tuple[dict[str, Any], bytes, list[dict[str, Any]]]]:
        def draw(index: int) -> tuple[bytes, tuple[Person, ...]]:
            scene = render_scene(_SEEDS[split], index, SIZE_HW)
            return jpeg(scene), scene.people

        height, width = SIZE_HW
        annotation_ids = itertools.count(1)
        # Threads are enough: OpenCV and NumPy do most of the drawing outside Python's lock.
        options = grain.ReadOptions(num_threads=os.cpu_count() or 1)
        drawn = grain.MapDataset.range(self._n[split]).map(draw)
        for index, (content, people) in enumerate(drawn.to_iter_dataset(options)):
            image = {"id": index, "file_name": f"{split}_{index:06}.jpg", "height": height, "width": width}
            yield image, content, [_annotation(person, index, next(annotation_ids)) for person in people]


def jpeg(scene: Scene) -> bytes:
    """The scene's image as the bytes of a JPEG file."""
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


DATASET = SyntheticPeople
