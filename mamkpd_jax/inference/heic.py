"""Reads HEIC pictures, as phones write them, with pillow-heif (the extra `heic`): OpenCV can't."""

import numpy as np

from mamkpd_jax.data.functional import DamagedImage, check_size

SUFFIXES = (".heic", ".heif")
_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}


def is_heic(data: bytes) -> bool:
    """Whether bytes are a HEIC file: they begin with an `ftyp` box that has one of HEIC's brands."""
    brands = data[8 : int.from_bytes(data[:4], "big")] if data[4:8] == b"ftyp" else b""
    return bool(_BRANDS & {brands[i : i + 4] for i in range(0, min(len(brands), 256), 4)})


def decode_heic(data: bytes) -> np.ndarray:
    """The main picture of a HEIC file: uint8 or uint16, gray, RGB or RGBA, and upright.

    Raises:
        DamagedImage: the file can't be decoded, has more pixels than the limit, or pillow-heif is not installed.
    """
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise DamagedImage("a HEIC picture; to read it: pip install pillow-heif") from error
    try:
        picture = pillow_heif.open_heif(data)
        width, height = picture.size
        check_size(height, width)
        return np.asarray(picture)  # upright: pillow-heif has applied the format's rotation, which the EXIF data repeat
    except DamagedImage:
        raise
    except Exception as error:  # libheif's errors are of several types
        raise DamagedImage(f"a damaged HEIC picture ({str(error).strip()}); copy it again") from error
