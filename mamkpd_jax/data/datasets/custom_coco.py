"""Any data set with keypoint annotations in COCO's form."""

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_files import CocoFiles, Files
from mamkpd_jax.skeleton_files import find_skeleton
from mamkpd_jax.skeletons import Skeleton


class CustomCoco(CocoFiles):
    """The files and the skeleton that the config names."""

    @staticmethod
    def files(data: DataConfig) -> Files:
        return {"train": (data.train_annotations, data.train_images), "val": (data.val_annotations, data.val_images)}

    @classmethod
    def known_skeleton(cls, data: DataConfig) -> Skeleton | None:
        """That of `config.data.skeleton`; None: that of the annotations' categories."""
        return find_skeleton(data.skeleton, []) if data.skeleton else None


DATASET = CustomCoco
