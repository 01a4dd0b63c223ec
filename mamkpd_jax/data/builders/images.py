"""Image files, checked while a data set is built."""

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

STORED, UPRIGHT = "stored", "upright"  # the pixels of a file, and the picture as viewers show it
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".jp2", ".avif", ".gif", ".ppm", ".pgm")
_EXIF = (b"Exif", b"eXIf", b"EXIF")  # in JPEG, PNG and WebP files


class ImageFile(NamedTuple):
    """An image as labels refer to it."""

    content: bytes
    size_hw: tuple[int, int]
    upright: bool  # turned as its EXIF data says
    rotated: bool  # the EXIF data says anything else than "as stored"
    by_size: bool  # the labelled size fits one reading only, stored or upright

    @property
    def is_unclear(self) -> bool:
        """Whether the labels may refer to the stored pixels or to the upright picture."""
        return self.rotated and not self.by_size

    @property
    def rotation(self) -> str:
        """What is done about the EXIF data, and why."""
        kind = UPRIGHT if self.upright else STORED
        why = "the labelled size" if self.by_size else f"config.data.exif={kind}"
        return f"image with a rotation in its EXIF data, read {kind} because of {why}"


def check_folder(folder: Path, names: list[str]) -> None:
    """Raises UserError if a folder, or one of its images, is not there."""
    if not os.path.isdir(folder):  # which, unlike Path's, takes any name
        raise UserError(f"the image folder {folder} is missing; give the folder of the data set by --config.data.root")
    if absent := [name for name in names if not os.path.isfile(folder / name)]:
        raise UserError(
            f"{folder} lacks {len(absent)} of the {len(names)} annotated images, the first {absent[0]}; "
            "copy the images completely"
        )


def named(content: bytes, field: str) -> list[str]:
    """The values of a text field anywhere in a JSON file, for image names.

    Decoding all of COCO's training annotations would take ten times as long.
    """
    names = re.findall(rb'"%s"\s*:\s*("(?:[^"\\]|\\.)*")' % field.encode(), content)
    found = []
    for name in names:
        with contextlib.suppress(ValueError):  # such a file is refused when it is read
            found.append(json.loads(name).replace("\\", "/"))
    return found


def state_of(folder: Path, names: Iterable[str]) -> tuple[str, bool]:
    """A digest of the sizes and modification times of images, and whether all of them are there.

    The digest changes when an image is replaced or deleted.
    """
    digest, complete = hashlib.sha256(), os.path.isdir(folder)
    for name in names:
        try:
            stat = (folder / name).stat()
        except (OSError, ValueError):  # ValueError: no file can have this name
            digest.update(f"{ascii(name)} missing".encode())
            complete = False
        else:
            digest.update(f"{ascii(name)} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest(), complete


def read_image(path: Path, size_hw: tuple[int, int] | None = None, *, exif: str = STORED) -> ImageFile:
    """An image, stored or upright: whichever has the size `size_hw`, and where both or neither is known `exif`.

    Raises:
        UserError: the file is missing, cut off, no image, or of another size than the annotations say.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); check the file") from error
    try:
        stored = decode_image(content)
        upright = decode_image(content, upright=True) if any(mark in content for mark in _EXIF) else stored
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
