"""The interface of an export format."""

from collections.abc import Callable
from typing import NamedTuple


class Format(NamedTuple):
    """An entry of `registry.EXPORTS`, by the suffix of its files."""

    # Writes an artifact's program to a path in one of the precisions, atomically: (Artifact, Path, Options, precision,
    # batch size or 0 for any). A format with int8 also takes `calibration`, uint8 crops [n, h, w, 3].
    save: Callable[..., None]
    precisions: tuple[str, ...] = ("fp32",)
