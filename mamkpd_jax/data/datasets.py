"""The data sets by name: built where needed, opened, with the crops that a run takes from them."""

import dataclasses
from pathlib import Path

from mamkpd_jax.config import Config, DataConfig
from mamkpd_jax.data.builders.ap10k import Ap10k
from mamkpd_jax.data.builders.coco_form import CocoFormBuilder, prepare
from mamkpd_jax.data.builders.coco_keypoints import CocoKeypoints
from mamkpd_jax.data.builders.custom_coco import CustomCoco
from mamkpd_jax.data.builders.mpii import Mpii
from mamkpd_jax.data.builders.synthetic_people import SyntheticPeople
from mamkpd_jax.data.source import DetectionSource, InstanceSource
from mamkpd_jax.data.transforms import PRESETS, TopDownCrop
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import Skeleton, find_skeleton


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PoseData:
    """An opened data set."""

    skeleton: Skeleton
    train: InstanceSource
    val: InstanceSource  # the split that `config.eval.split` names
    detections: DetectionSource | None  # boxes to evaluate with in place of the ground truth's
    train_crop: TopDownCrop
    eval_crop: TopDownCrop


def open_dataset(config: Config) -> PoseData:
    """The data set that `config.data` names, built first if it is not there.

    Raises:
        UserError: its source files are missing, damaged or contradict each other.
    """
    data = config.data
    builder = prepare(_builder(config))
    skeleton = builder.skeleton
    if config.eval.split not in builder.splits():
        raise UserError(f"config.eval.split is {config.eval.split!r}; {builder.name} has {', '.join(builder.splits())}")
    val = InstanceSource(builder, config.eval.split)
    detections = DetectionSource(val, Path(config.eval.detections)) if config.eval.detections else None
    eval_crop = eval_crop_of(data, skeleton)
    return PoseData(
        skeleton=skeleton,
        train=InstanceSource(builder, "train"),
        val=val,
        detections=detections,
        train_crop=dataclasses.replace(eval_crop, augmentation=PRESETS[data.augmentation], erasing_p=data.erasing_p),
        eval_crop=eval_crop,
    )


def eval_crop_of(data: DataConfig, skeleton: Skeleton) -> TopDownCrop:
    """The crop that a model is evaluated and used with."""
    return TopDownCrop(input_hw=(data.input_hw[0], data.input_hw[1]), skeleton=skeleton, udp=data.codec == "udp")


def skeleton_of(data: DataConfig) -> Skeleton:
    """The joints of the data set, which need not be there.

    Raises:
        UserError: only the data set's own annotations could tell.
    """
    return find_skeleton(data.skeleton_name, categories=None)


def _builder(config: Config) -> CocoFormBuilder:
    data = config.data
    root, build_dir = Path(data.root), Path(data.build_dir).absolute()
    match data.dataset:
        case "coco_keypoints":
            return CocoKeypoints(root, build_dir)
        case "mpii":
            return Mpii(root, build_dir)
        case "ap10k":
            return Ap10k(root, data.ap10k_fold, build_dir)
        case "custom_coco":
            files = {
                "train": (data.train_annotations, data.train_images),
                "val": (data.val_annotations, data.val_images),
            }
            return CustomCoco(root, files, data.skeleton, build_dir)
        case "synthetic_people":
            return SyntheticPeople(data.synthetic_train_images, data.synthetic_val_images, build_dir)
        case _:
            raise ValueError(f"unknown data set {data.dataset!r}")
