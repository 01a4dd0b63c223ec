"""Any data set with keypoint annotations in COCO's form."""

from collections.abc import Collection
from pathlib import Path

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_files import CocoFiles
from mamkpd_jax.data.builders.entry import DatasetEntry
from mamkpd_jax.skeletons import find_skeleton


class CustomCoco(CocoFiles):
    """The files below `root` by split: annotation file and image folder. `skeleton` as in `config.data.skeleton`."""

    def __init__(
        self,
        root: Path,
        files: dict[str, tuple[str, str]],
        skeleton: str,
        data_dir: Path,
        needed: Collection[str] | None = None,
    ):
        super().__init__(root, files, find_skeleton(skeleton, []) if skeleton else None, data_dir, needed)


def _builder(data: DataConfig, needed: Collection[str]) -> CustomCoco:
    files = {"train": (data.train_annotations, data.train_images), "val": (data.val_annotations, data.val_images)}
    return CustomCoco(Path(data.root), files, data.skeleton, Path(data.build_dir), needed)


DATASET = DatasetEntry(_builder, skeleton=None)
