"""Reads and checks image files while a data set is built."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mamkpd_jax.data.functional import DamagedImage, decode_image
from mamkpd_jax.errors import UserError

STORED, UPRIGHT = "stored", "upright"  # as the file's pixels are, or with the EXIF rotation that viewers apply
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".jp2", ".avif", ".gif", ".ppm", ".pgm")
_EXIF_MARKS = (b"Exif", b"eXIf", b"EXIF")  # in JPEG, PNG and WebP files


class ImageFile(NamedTuple):
    """An image file, and the way in which its labels refer to it."""

    content: bytes
    size_hw: tuple[int, int]
    upright: bool  # whether the labels need the EXIF rotation applied
    rotated: bool  # whether the EXIF data has a rotation
    by_size: bool  # whether the labelled size fits only one of stored and upright

    @property
    def is_unclear(self) -> bool:
        """Whether the labels could refer to either the stored pixels or the upright image."""
        return self.rotated and not self.by_size

    @property
    def rotation(self) -> str:
        """How the image's EXIF rotation is handled and why, as a message."""
        kind = UPRIGHT if self.upright else STORED
        why = "the labelled size" if self.by_size else f"config.data.exif={kind}"
        return f"image with a rotation in its EXIF data, read {kind} because of {why}"


def check_folder(folder: Path, names: list[str]) -> None:
    """Raises UserError if the folder or one of the named images is missing."""
    if not os.path.isdir(folder):  # unlike Path.is_dir, it accepts any name
        raise UserError(f"the image folder {folder} is missing; give the folder of the data set by --config.data.root")
    if absent := [name for name in names if not os.path.isfile(folder / name)]:
        raise UserError(
            f"{folder} lacks {len(absent)} of the {len(names)} annotated images, the first {absent[0]}; copy all images"
        )


def image_names(content: bytes, field: str) -> list[str]:
    """The image names in a JSON file: all values of a text field, with slashes.

    This search is ten times as fast as decoding all of COCO's training annotations.
    """
    names = re.findall(rb'"%s"\s*:\s*("(?:[^"\\]|\\.)*")' % field.encode(), content)
    found = []
    for name in names:
        with contextlib.suppress(ValueError):  # reading the file refuses it later
            found.append(json.loads(name).replace("\\", "/"))
    return found


def images_state(folder: Path, names: Iterable[str]) -> tuple[str, bool]:
    """A digest of the sizes and modification times of images, and whether all of them exist.

    The digest changes when an image is replaced or deleted.
    """
    digest, complete = hashlib.sha256(), os.path.isdir(folder)
    for name in names:
        try:
            stat = (folder / name).stat()
        except (OSError, ValueError):  # ValueError: not a valid file name
            digest.update(f"{ascii(name)} missing".encode())
            complete = False
        else:
            digest.update(f"{ascii(name)} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest(), complete


def read_image(path: Path, size_hw: tuple[int, int] | None = None, *, exif: str = STORED) -> ImageFile:
    """The image of a file, read stored or upright, whichever has the labelled size.

    Args:
        size_hw: the labelled height and width; None: unknown.
        exif: STORED or UPRIGHT, the way to read it where both have that size or the size is unknown.

    Raises:
        UserError: the file is missing, truncated or not an image, or its size differs from the labelled one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); check the file") from error
    try:
        stored = decode_image(content)
        upright = decode_image(content, upright=True) if any(mark in content for mark in _EXIF_MARKS) else stored
    except DamagedImage as error:
        raise UserError(f"{path} is a truncated or damaged image ({len(content)} bytes); copy it again") from error
    sizes = {STORED: stored.shape[:2], UPRIGHT: upright.shape[:2]}
    fitting = [name for name, size in sizes.items() if size_hw in (size, None)]
    if not fitting:
        sides = [f"{width}x{height}" for height, width in dict.fromkeys(sizes.values())]
        assert size_hw is not None
        raise UserError(
            f"{path} is {' (turned by its EXIF data '.join(sides)}{')' * (len(sides) - 1)} pixels, and the annotations "
            f"say {size_hw[1]}x{size_hw[0]} (width x height); give the images that were annotated"
        )
    kind = exif if exif in fitting else fitting[0]
    height, width = sizes[kind]
    rotated = not np.array_equal(stored, upright)
    return ImageFile(content, (height, width), kind == UPRIGHT and rotated, rotated, len(fitting) == 1)
