"""COCO keypoints 2017 from the official files: annotations/person_keypoints_*2017.json, train2017/, val2017/."""

from collections.abc import Collection
from pathlib import Path

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_files import CocoFiles
from mamkpd_jax.data.builders.entry import DatasetEntry
from mamkpd_jax.skeletons import COCO


class CocoKeypoints(CocoFiles):
    """COCO keypoints 2017 below `root`; `needed` as in `CocoFiles`."""

    def __init__(self, root: Path, data_dir: Path, needed: Collection[str] | None = None):
        files = {
            split: (f"annotations/person_keypoints_{split}2017.json", f"{split}2017") for split in ("train", "val")
        }
        super().__init__(root, files, COCO, data_dir, needed)


def _builder(data: DataConfig, needed: Collection[str]) -> CocoKeypoints:
    return CocoKeypoints(Path(data.root), Path(data.build_dir), needed)


DATASET = DatasetEntry(_builder, COCO)
