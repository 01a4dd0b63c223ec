"""COCO keypoints 2017 from the official files: annotations/person_keypoints_*2017.json, train2017/, val2017/."""

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_files import CocoFiles, Files
from mamkpd_jax.skeletons import COCO


class CocoKeypoints(CocoFiles):
    """COCO keypoints 2017, with the splits train and val."""

    skeleton = COCO

    @staticmethod
    def files(data: DataConfig) -> Files:
        return {part: (f"annotations/person_keypoints_{part}2017.json", f"{part}2017") for part in ("train", "val")}


DATASET = CocoKeypoints
