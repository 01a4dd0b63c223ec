"""The data sets by name: built where needed, opened, with the crops that a run takes from them."""

import dataclasses
from pathlib import Path

from mamkpd_jax.config import Config
from mamkpd_jax.data.builders.coco_form import CocoFormBuilder, prepare
from mamkpd_jax.data.builders.coco_keypoints import CocoKeypoints
from mamkpd_jax.data.builders.synthetic_people import SyntheticPeople
from mamkpd_jax.data.source import DetectionSource, InstanceSource
from mamkpd_jax.data.transforms import PRESETS, TopDownCrop
from mamkpd_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PoseData:
    """An opened data set."""

    skeleton: Skeleton
    train: InstanceSource
    val: InstanceSource
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
    skeleton = builder.SKELETON
    val = InstanceSource(builder, "val")
    detections = DetectionSource(val, Path(config.eval.detections)) if config.eval.detections else None
    eval_crop = TopDownCrop(input_hw=(data.input_hw[0], data.input_hw[1]), skeleton=skeleton)
    return PoseData(
        skeleton=skeleton,
        train=InstanceSource(builder, "train"),
        val=val,
        detections=detections,
        train_crop=dataclasses.replace(eval_crop, augmentation=PRESETS[data.augmentation]),
        eval_crop=eval_crop,
    )


def skeleton_of(dataset: str) -> Skeleton:
    """The joints of the data set of that name, which need not be there."""
    return {"coco_keypoints": CocoKeypoints, "synthetic_people": SyntheticPeople}[dataset].SKELETON


def _builder(config: Config) -> CocoFormBuilder:
    data = config.data
    build_dir = Path(data.build_dir).absolute()
    match data.dataset:
        case "coco_keypoints":
            return CocoKeypoints(Path(data.root), build_dir)
        case "synthetic_people":
            return SyntheticPeople(data.synthetic_train_images, data.synthetic_val_images, build_dir)
        case _:
            raise ValueError(f"unknown data set {data.dataset!r}")
