"""Images to label, and what is made of their labels."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mamkpd_jax.data.imports._coco import write
from mamkpd_jax.registry import IMPORTS


def write_image(path: Path, width: int = 200, height: int = 100, *, orientation: int = 1) -> None:
    """A picture of noise; the orientation is that of EXIF data, and the size that of what is stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    content = cv2.imencode(path.suffix, noise)[1].tobytes()
    if orientation != 1:
        tags = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0\0\0\0\0"
        content = content[:2] + b"\xff\xe1" + (len(tags) + 2).to_bytes(2, "big") + tags + content[2:]
    path.write_bytes(content)


def imported(form: str, path: Path, output: Path, images: Path | None = None) -> dict[str, Any]:
    """The contents of the files that an import writes, by name."""
    written = write(IMPORTS[form](path, images), output)
    files = [*written.files, *([written.skeleton] if written.skeleton else [])]
    return {file.name: json.loads(file.read_bytes()) for file in files}


def keypoints(annotation: dict[str, Any]) -> list[list[float]]:
    """The x, y and visibility of each keypoint."""
    return np.reshape(annotation["keypoints"], (-1, 3)).tolist()
