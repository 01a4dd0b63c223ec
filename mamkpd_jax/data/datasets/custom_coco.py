"""Any data set with keypoint annotations in COCO's form."""

from collections.abc import Collection

from absl import logging

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_files import CocoFiles, Files
from mamkpd_jax.data.builders.images import UPRIGHT
from mamkpd_jax.skeleton_files import describe_flips, find_skeleton
from mamkpd_jax.skeletons import Skeleton


class CustomCoco(CocoFiles):
    """A data set of the annotation files, image folders and skeleton that the config names."""

    EXIF = UPRIGHT  # labelling tools show images upright

    def __init__(self, data: DataConfig, needed: Collection[str] | None = None):
        super().__init__(data, needed)
        level = logging.INFO if self.skeleton.flip_pairs else logging.WARNING
        logging.log(level, "%s: %s", self.skeleton.name, describe_flips(self.skeleton))

    @staticmethod
    def files(data: DataConfig) -> Files:
        return {"train": (data.train_annotations, data.train_images), "val": (data.val_annotations, data.val_images)}

    @classmethod
    def known_skeleton(cls, data: DataConfig) -> Skeleton | None:
        """The skeleton of `config.data.skeleton`; None if that is empty and the annotations' categories define it."""
        return find_skeleton(data.skeleton, []) if data.skeleton else None


DATASET = CustomCoco
