"""The config of a fine-tuning run, chosen from the data set and the starting weights."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.config import Config, DataConfig, EvalConfig, HeatmapConfig, ModelConfig, OptimConfig
from mamkpd_jax.data.opening import PoseData
from mamkpd_jax.skeletons import SKELETONS, Skeleton

METRICS = ("pck_box@0.1", "coco")  # runs are compared by the first one's headline value
_BATCH, _EVAL_BATCH = 16, 32
_LEAST_STEPS, _LEAST_EPOCHS = 600, 20  # a run is as long as the longer of both
_FROM_SCRATCH = 4  # times as long without starting weights
_WARMUP_STEPS = 50
_DECAYS = (0.7, 0.9)  # shares of the run
_EVALUATIONS = 5
_CROP_PX = 128  # a square crop's side, if no starting weights give a size
_ANIMAL_PARTS = re.compile("paw|tail|hoof|wing|beak|fin|snout|muzzle|withers|horn|antenna|claw")


def start_name(skeleton: Skeleton) -> str:
    """The shipped model to start from: `animals` if a keypoint is named after an animal's body part, else `people`."""
    return "animals" if any(_ANIMAL_PARTS.search(joint.lower()) for joint in skeleton.joints) else "people"


def data_config(train: Path, val: Path, train_images: Path, val_images: Path, skeleton: str, build: Path) -> DataConfig:
    """The config's data section, with absolute paths, so that it works from any directory.

    Args:
        skeleton: as in `DataConfig`.
        build: the folder to build the data set in.
    """
    of_file = skeleton and skeleton not in SKELETONS
    return DataConfig(
        dataset="custom_coco",
        root="/",
        train_annotations=str(train.absolute()),
        val_annotations=str(val.absolute()),
        train_images=str(train_images.absolute()),
        val_images=str(val_images.absolute()),
        skeleton=str(Path(skeleton).absolute()) if of_file else skeleton,
        build_dir=str(build.absolute()),
        workers=0,
    )


def finetune_config(
    data: DataConfig, dataset: PoseData, start: Artifact | None, init_from: str, steps: int, n_devices: int
) -> Config:
    """The config of a run of about `steps` steps on an opened data set. 0 chooses a number by the data set's size.

    Args:
        start: the run takes its network, head and crop size; None: a small network, and crops as wide as the boxes.
        init_from: the value of `config.init_from`.
        n_devices: the number of devices, which has to divide the batch size.
    """
    n = len(dataset.train)
    batch = max(min(_BATCH, n) // n_devices, 1) * n_devices
    steps_per_epoch = max(n // batch, 1)
    steps = steps or (1 if start else _FROM_SCRATCH) * max(_LEAST_STEPS, _LEAST_EPOCHS * steps_per_epoch)
    epochs = math.ceil(steps / steps_per_epoch)
    decays = {round(share * epochs) for share in _DECAYS} - {0, epochs}
    model = ModelConfig(depths=(1, 2, 3), dims=(40, 80, 160), decoder_dim=40) if start is None else start.config.model
    input_hw = _crop_hw(dataset, model.stride) if start is None else start.config.data.input_hw
    return Config(
        model=dataclasses.replace(model, drop_path=0.0),
        head=HeatmapConfig(codec="dark", sigma_px=4.0) if start is None else start.config.head,
        data=dataclasses.replace(data, input_hw=input_hw, augmentation="light"),
        optim=OptimConfig(
            batch_size=batch,
            epochs=epochs,
            learning_rate=1e-3,
            decay_epochs=tuple(sorted(decays)),
            decay_factor=0.2,
            warmup_steps=min(_WARMUP_STEPS, epochs * steps_per_epoch // 10),
            ema_decay=0.99,
        ),
        eval=EvalConfig(
            metrics=METRICS,
            batch_size=_EVAL_BATCH * n_devices,
            every_epochs=math.ceil(epochs / _EVALUATIONS),
        ),
        checkpoint_every_steps=200,
        keep_checkpoints=1,
        init_from=init_from,
    )


def _crop_hw(dataset: PoseData, stride: int) -> tuple[int, int]:
    """Height and width of crops: the training boxes' median aspect ratio, and about `_CROP_PX` squared in area."""
    boxes = np.array([box.xywh for box in dataset.train.boxes()])
    aspect = float(np.median(boxes[:, 2] / boxes[:, 3]))
    sides = (_CROP_PX / aspect**0.5, _CROP_PX * aspect**0.5)
    height, width = (stride * int(np.clip(round(side / stride), 2, 8)) for side in sides)
    return height, width
