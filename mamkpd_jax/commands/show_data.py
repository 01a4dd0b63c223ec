"""Draws the training input: augmented crops and the maps of their targets.

mamkpd show-data --config=NAME|FILE --output=DIR

DIR/crops.png shows pairs of augmented crops from the first training batch: on the left with the joints and the
annotated box, on the right with the maps of the targets.
"""

from pathlib import Path

import cv2
import jax.numpy as jnp
import numpy as np
from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.config import Config
from mamkpd_jax.data.opening import open_dataset
from mamkpd_jax.data.pipeline import train_batches
from mamkpd_jax.heads._head import head_of
from mamkpd_jax.visualize import contact_sheet, draw_pose, overlay_heatmap

_CONFIG = cli.define_config()
_OUTPUT = flags.DEFINE_string("output", None, "Folder for crops.png.", required=True, allow_override=True)
_SHOWN = 24
_SCALE = 2  # of crops in the picture


def show_data(config: Config, output: Path) -> Path:
    """Writes crops.png to the folder `output` and returns its path.

    Raises:
        UserError: the config is invalid, or the data set is missing or damaged.
    """
    config.validate()
    dataset = open_dataset(config)
    config.data.workers = 0
    config.optim.batch_size = min(_SHOWN, len(dataset.train))
    batch = next(train_batches(dataset.train, dataset.train_crop, config))
    head = head_of(config, dataset.skeleton)
    targets, _ = head.encode(jnp.asarray(batch["keypoints"]), jnp.asarray(batch["visible"]))
    maps = np.asarray(head.maps(targets))
    pairs = []
    for i, crop in enumerate(batch["image"]):
        joints = np.column_stack([_SCALE * batch["keypoints"][i], batch["visible"][i]]).astype(np.float64)
        annotated = cv2.resize(crop, None, fx=_SCALE, fy=_SCALE)
        cv2.polylines(annotated, [(_SCALE * batch["corners"][i]).astype(np.int32)], True, (0, 255, 0), 1, cv2.LINE_AA)
        draw_pose(annotated, joints, dataset.skeleton)
        heat = overlay_heatmap(cv2.resize(crop, None, fx=_SCALE, fy=_SCALE), maps[i].max(axis=-1))
        pairs.append(np.concatenate([annotated, heat], axis=1))
    height, width = pairs[0].shape[:2]
    sheet = contact_sheet(pairs, tile_hw=(height, width), columns=4)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "crops.png"
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    return path


def main() -> None:
    print(f"{show_data(_CONFIG.value, Path(_OUTPUT.value))} shows the training input")
