"""Times the loader on one core: python -m mamkpd_jax.bench pipeline --output=FILE.json

Training crops of 256x192, augmented, from JPEGs of 640x480 that hold procedural people, each with a box of its own.
The targets are made on the device and are no part of it.
"""

import cv2
import numpy as np

from mamkpd_jax.bench import measure
from mamkpd_jax.data.builders.synthetic_people import jpeg
from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.data.pipeline import LoadCrop
from mamkpd_jax.data.source import NO_ANNOTATION, Item
from mamkpd_jax.data.synthesis import render_scene
from mamkpd_jax.data.transforms import PRESETS, TopDownCrop
from mamkpd_jax.environment import environment
from mamkpd_jax.skeletons import COCO

_IMAGE_HW, _INPUT_HW = (480, 640), (256, 192)
_N_IMAGES = 16


def items() -> list[Item]:
    """People of a few pictures, as an `InstanceSource` gives them."""
    scenes = [render_scene(3, index, _IMAGE_HW) for index in range(_N_IMAGES)]
    return [
        {
            "image": jpeg(scene),
            "image_id": index,
            "file_name": f"{index}.jpg",
            "height_px": _IMAGE_HW[0],
            "width_px": _IMAGE_HW[1],
            "category_id": 1,
            "annotation_id": NO_ANNOTATION,
            "score": 1.0,
            "bbox": person.box_xywh,
            "keypoints": person.keypoints,
        }
        for index, scene in enumerate(scenes)
        for person in scene.people
    ]


def main() -> None:
    cv2.setNumThreads(1)
    people = items()
    crop = TopDownCrop(input_hw=_INPUT_HW, skeleton=COCO, augmentation=PRESETS["mmpose"])
    load = LoadCrop(crop)
    decoded = [{**person, "image": decode_image(person["image"])} for person in people]
    times = measure.times_ms(
        {
            "decode, augment and crop": lambda i: load(people[i % len(people)], np.random.default_rng(i)),
            "decode": lambda i: decode_image(people[i % len(people)]["image"]),
            "augment and crop": lambda i: crop(decoded[i % len(people)], np.random.default_rng(i)),
        },
        repeats=measure.REPEATS.value,
    )
    rows = {name: measure.summary_ms(part) for name, part in times.items()}
    for name, row in rows.items():
        print(f"{name:26}{row['median_ms']:8.3f} ms{1e3 / row['median_ms']:8.0f} images/s and core")
    measure.write({"environment": environment(("opencv-python-headless", "grain")), "rows": rows})
