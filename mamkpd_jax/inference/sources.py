"""Files that are no single picture: videos and animated pictures."""

from pathlib import Path

import cv2

from mamkpd_jax.inference.video import SUFFIXES

__all__ = ["SUFFIXES", "animated_frames"]


def animated_frames(path: Path) -> int:
    """The number of frames of a GIF, WebP, PNG or AVIF file; 1 for other pictures and for files that can't be read."""
    is_animation = path.suffix.lower() in (".gif", ".webp", ".png", ".avif")
    return max(1, cv2.imcount(str(path))) if is_animation else 1
