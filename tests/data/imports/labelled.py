"""Helpers that write images, and import labels."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mamkpd_jax.data.imports._coco import write
from mamkpd_jax.registry import IMPORTS
from tests.data.exif import turned


def write_image(path: Path, width: int = 200, height: int = 100, *, orientation: int = 1) -> None:
    """Writes a noise image of this stored size, with EXIF data if `orientation` is not 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    content = cv2.imencode(path.suffix, noise)[1].tobytes()
    path.write_bytes(content if orientation == 1 else turned(content, orientation))


def imported(form: str, path: Path, output: Path, images: Path | None = None) -> dict[str, Any]:
    """Imports labels, and returns the contents of the written files by name."""
    written = write(IMPORTS[form](path, images), output)
    files = [*written.files, *([written.skeleton] if written.skeleton else [])]
    return {file.name: json.loads(file.read_bytes()) for file in files}


def keypoints(annotation: dict[str, Any]) -> list[list[float]]:
    """The x, y and visibility of each keypoint."""
    return np.reshape(annotation["keypoints"], (-1, 3)).tolist()
