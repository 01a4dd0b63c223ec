"""Crops of pictures for the calibration of an export to int8."""

import random
from pathlib import Path

import numpy as np
from absl import logging
from jaxtyping import UInt8

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.addresses import is_address, without_login
from mamkpd_jax.inference.detector_classes import subject
from mamkpd_jax.inference.picture_files import Pictures, find_pictures
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.inference.sources import find_video

_FEW = 100


def find_calibration(given: str) -> Pictures:
    """The pictures that `--calibration` names: a file, a folder or a glob.

    Raises:
        UserError: there is no picture, or `given` is a video or an address.
    """
    if is_address(given):
        raise UserError(f"--calibration={without_login(given)} is an address; give a folder or a glob of pictures")
    if not Path(given).is_dir() and find_video(given) is not None:
        raise UserError(f"--calibration={given} is a video; give a folder or a glob of pictures")
    return find_pictures(given, flag="calibration")


def calibration_crops(predictor: Predictor, pictures: Pictures, limit: int = 256) -> UInt8[np.ndarray, "n h w 3"]:
    """At most `limit` crops, spread evenly over the pictures; prints their number.

    The pictures are taken in a fixed random order, so that a part of them represents the whole folder. Pictures that
    can't be read are logged and skipped.

    Raises:
        UserError: nothing is detected in any picture.
    """
    names = random.Random(0).sample(pictures.names, len(pictures.names))
    most = -(-limit // len(names))
    crops: list[np.ndarray] = []
    n_used = n_unreadable = 0
    for name in names:
        if len(crops) >= limit:
            break
        try:
            found = predictor.crops(pictures.path(name), box_threshold=0.0).images[:most]
        except UserError as error:
            logging.warning("left out of the calibration: %s", error)
            n_unreadable += 1
            continue
        crops += list(found)
        n_used += len(found) > 0
    if not crops:
        raise UserError(
            f"--calibration: {subject(predictor.skeleton, 0)} found (pictures in {pictures.folder}: {len(names)}, "
            f"unreadable: {n_unreadable}); give pictures of what the model is for"
        )
    crops = crops[:limit]
    print(f"calibration: {len(crops)} crops of {n_used} of {len(names)} pictures")
    if len(crops) < _FEW:
        logging.warning("%d crops are few for a calibration; give pictures with at least %d", len(crops), _FEW)
    return np.stack(crops)
