"""Animated pictures: picture files that have several frames."""

import io
from pathlib import Path

from PIL import Image

FORMATS = ("GIF", "WEBP", "PNG", "AVIF")  # not TIFF, whose pages are usually scans


def animated_frames(picture: Path | bytes) -> int:
    """The number of frames in a GIF, WebP, PNG or AVIF file; 1 for other formats and unreadable files."""
    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture, formats=FORMATS) as image:
            return getattr(image, "n_frames", 1)
    except Exception:  # Pillow raises errors of many types for damaged files
        return 1
