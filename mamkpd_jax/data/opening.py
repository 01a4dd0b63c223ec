"""Opens the data set of a config, with the crops that a run uses. Builds it first if needed."""

import dataclasses
from pathlib import Path
from typing import Any

from mamkpd_jax.config import Config
from mamkpd_jax.data.annotation_files import SplitBox
from mamkpd_jax.data.builders.coco_form import CocoFormBuilder, prepare
from mamkpd_jax.data.source import InstanceSource, read_detections
from mamkpd_jax.data.transforms import PRESETS, TopDownCrop, eval_crop_of
from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import DATASETS
from mamkpd_jax.skeleton_files import one_sided
from mamkpd_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationData:
    """The parts of an opened data set that an evaluation needs."""

    skeleton: Skeleton
    val: InstanceSource  # the split that `config.eval.split` names
    detections: list[SplitBox] | None  # boxes to evaluate with; None: those of the ground truth
    eval_crop: TopDownCrop


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PoseData(EvaluationData):
    """An opened data set to train and evaluate on."""

    train: InstanceSource
    train_crop: TopDownCrop


def open_dataset(config: Config) -> PoseData:
    """Opens the data set that `config.data` names, and builds it first if it does not exist.

    Raises:
        UserError: the source files are missing, damaged or contradict each other, or a field of the config does not fit
            the data set.
    """
    augmentation, erasing_p = PRESETS[config.data.augmentation], config.data.erasing_p
    builder, fields = _open(config, "train", config.eval.split, flips=augmentation is not None)
    crop = dataclasses.replace(fields["eval_crop"], augmentation=augmentation, erasing_p=erasing_p)
    return PoseData(**fields, train=InstanceSource(builder, "train"), train_crop=crop)


def open_evaluation_data(config: Config) -> EvaluationData:
    """Opens the evaluation part of the data set, as `open_dataset`. It needs only the files of `config.eval.split`.

    Raises:
        UserError: as `open_dataset`, for the files of that split.
    """
    _, fields = _open(config, config.eval.split)
    return EvaluationData(**fields)


def _open(config: Config, *needed: str, flips: bool = False) -> tuple[CocoFormBuilder, dict[str, Any]]:
    """The builder of the built data set, and the fields of `EvaluationData`."""
    builder = DATASETS[config.data.dataset](config.data, needed)
    if flips or config.eval.flip_test:
        _check_flips(config, builder.skeleton)
    prepare(builder)
    if config.eval.split not in builder.splits():
        raise UserError(f"config.eval.split is {config.eval.split!r}; {builder.name} has {', '.join(builder.splits())}")
    val = InstanceSource(builder, config.eval.split)
    return builder, {
        "skeleton": builder.skeleton,
        "val": val,
        "detections": read_detections(val, Path(config.eval.detections)) if config.eval.detections else None,
        "eval_crop": eval_crop_of(config, builder.skeleton),
    }


def _check_flips(config: Config, skeleton: Skeleton) -> None:
    """Raises UserError if a flip would train a left joint as a right one. A skeleton file is trusted."""
    if not config.data.skeleton and (lost := one_sided(skeleton)):
        raise UserError(
            f"the keypoint {lost[0]!r} has a side, but none of {', '.join(skeleton.joints)} is its mirror image, so "
            "flips would mislabel it; rename it, list the pairs in a skeleton file, or train and evaluate without "
            "flips (config.data.augmentation=none, config.eval.flip_test=False)"
        )
