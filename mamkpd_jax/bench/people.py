"""Images of procedural people for the benchmarks of the loader and of prediction."""

from mamkpd_jax.data.annotation_files import NO_ANNOTATION
from mamkpd_jax.data.datasets.synthetic_people import jpeg
from mamkpd_jax.data.source import Item
from mamkpd_jax.data.synthesis import render_scene

IMAGE_HW = (480, 640)
_N_IMAGES = 16


def items() -> list[Item]:
    """The people in a few images, in the form of an `InstanceSource`; all people of an image share its JPEG."""
    scenes = [render_scene(3, index, IMAGE_HW) for index in range(_N_IMAGES)]
    return [
        {
            "image": jpeg(scene),
            "image_id": index,
            "file_name": f"{index}.jpg",
            "height_px": IMAGE_HW[0],
            "width_px": IMAGE_HW[1],
            "upright": False,
            "category_id": 1,
            "annotation_id": NO_ANNOTATION,
            "score": 1.0,
            "bbox": person.box_xywh,
            "keypoints": person.keypoints,
        }
        for index, scene in enumerate(scenes)
        for person in scene.people
    ]
