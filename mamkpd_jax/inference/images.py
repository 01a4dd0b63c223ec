"""Reads every kind of image that the predictor takes, as 8-bit RGB pixels."""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import ImageOps
from PIL.Image import Image as PilImage

from mamkpd_jax.data.builders import images as dataset_images
from mamkpd_jax.data.functional import DamagedImage, decode_image
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference import heic
from mamkpd_jax.inference.addresses import download, is_address
from mamkpd_jax.inference.animations import FORMATS, animated_frames

# A path, an http:// or https:// address, a file's bytes, a PIL image, or an array: see `read`.
Image = Any

SUFFIXES = (*dataset_images.SUFFIXES, *heic.SUFFIXES)
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")  # of PIL images with more than 8 bits
_PILLOW_LOCK = threading.Lock()  # Pillow decodes on first use, which several threads may trigger at once
_EXPECTED = "expected uint8, uint16, bool, or float from 0 to 1, as [h, w] or [h, w, 1, 3 or 4]"


def is_one_image(images: Any) -> bool:
    """Whether this is one image rather than several. Inputs that `read` refuses count as one."""
    if isinstance(images, str | Path | bytes | bytearray | memoryview | PilImage) or _is_array(images):
        return True
    return hasattr(images, "read") or not isinstance(images, Iterable)  # an open file iterates over its lines


def name_of(image: Image) -> str:
    """The image's name in messages: its path or address, else "the image"."""
    return str(image) if isinstance(image, str | Path) else "the image"


def reread_from(image: Image, pixels: UInt8[np.ndarray, "h w 3"]) -> Image:
    """The source to read an image from again: its path, else its pixels, because what an address serves may change."""
    return image if isinstance(image, Path) or (isinstance(image, str) and not is_address(image)) else pixels


def read(image: Image, *, upright: bool) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB pixels of an image.

    Gray is repeated in all channels, alpha is left out, and 16-bit values keep their upper 8 bits.

    Args:
        image: the path of a file, or its bytes: a format that OpenCV reads, or HEIC with pillow-heif; an
            http:// or https:// address; a PIL image; or an array [h, w] or [h, w, 1, 3 or 4], gray, RGB or RGBA, of
            uint8, uint16, bool, or float from 0 to 1.
        upright: whether a rotation in the EXIF data of a file or PIL image is applied. HEIC is always upright, as the
            rotation is part of that format. An array is taken as it is.

    Raises:
        UserError: the image can't be read, is animated, or is none of these.
    """
    if isinstance(image, PilImage):
        return _of_pil(image, upright)
    if _is_array(image):
        try:
            return _of_array(np.asarray(image))
        except (TypeError, RuntimeError) as error:  # a tensor on a GPU, or one with a gradient
            raise UserError(f"the image can't be converted to a NumPy array ({error})") from error
    try:
        return _of_file(_content(image), upright)
    except OSError as error:
        raise UserError(f"{name_of(image)} can't be read ({error.strerror})") from error
    except DamagedImage as error:
        raise UserError(f"{name_of(image)} is {error}") from error


def _content(image: Image) -> bytes:
    match image:
        case str() if is_address(image):
            return download(image).content
        case str() | Path():
            return Path(image).read_bytes()
        case bytes() | bytearray() | memoryview():
            return bytes(image)
    raise UserError(
        f"the image is {type(image).__name__}; expected a path, an http:// or https:// address, the bytes of a picture "
        "file, a PIL image or an array"
    )


def _of_file(data: bytes, upright: bool) -> UInt8[np.ndarray, "h w 3"]:
    if (n := animated_frames(data)) > 1:
        raise _animated(n)
    return _of_array(heic.decode_heic(data)) if heic.is_heic(data) else decode_image(data, upright=upright)


def _animated(n: int) -> DamagedImage:
    return DamagedImage(f"animated ({n} frames); give one frame, or use `mamkpd predict`, which takes it as a video")


def _is_array(image: Any) -> bool:
    """Whether this is a NumPy, JAX or PyTorch array of pixels. With one axis it is a list, such as of paths."""
    return hasattr(image, "__array__") and getattr(image, "ndim", 0) > 1


def _of_array(image: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    kind = f"the image is an array {image.dtype} {image.shape}"
    if image.ndim == 4:
        raise UserError(f"{kind}; for several images give a list of arrays [h, w, 3]")
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or pixels.size == 0:
        raise UserError(f"{kind}; {_EXPECTED}")
    # Choice: alpha is left out, as OpenCV does with files: blending would need a background colour.
    pixels = pixels[..., :3]
    if pixels.dtype.newbyteorder("=") == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)  # as OpenCV reads PNG files
    elif pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    elif pixels.dtype.kind == "f":
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 1):
            raise UserError(f"{kind} with values from {low:g} to {high:g}; {_EXPECTED}")
        pixels = np.round(pixels * 255).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise UserError(f"{kind}; {_EXPECTED}")
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _of_pil(image: PilImage, upright: bool) -> UInt8[np.ndarray, "h w 3"]:
    try:
        with _PILLOW_LOCK:
            n_frames = getattr(image, "n_frames", 1) if image.format in FORMATS else 1
            if n_frames > 1:
                raise UserError(f"the image is {_animated(n_frames)}")
            image = ImageOps.exif_transpose(image) if upright else image
            if image.mode not in _DEEP_MODES:
                image = image.convert("RGBA") if image.mode in ("P", "PA") else image
                image = image.convert("RGB")
            return _of_array(np.asarray(image))
    except (OSError, ValueError, SyntaxError) as error:  # of a damaged file
        raise UserError(f"the image can't be decoded ({error}); copy its file again") from error
