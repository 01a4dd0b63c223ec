"""Shared parts of the readers of labels: their result type, and functions that read images and YAML files.

Choice: coordinates in pixels stay unchanged, and relative ones are multiplied by the image size. Labelling tools and
COCO count from the upper left corner of the first pixel. The half pixel to its centre is below a labeller's precision.
"""

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mamkpd_jax.data.annotation_files import are_numbers, as_id
from mamkpd_jax.data.builders.images import UPRIGHT, read_image
from mamkpd_jax.errors import UserError

UNNAMED = "object"  # the category of instances without a category label
HIDDEN = {"hidden", "occluded"}  # words that mark hidden keypoints, for tools without a visibility field
_ERRORS = (AttributeError, IndexError, KeyError, OSError, OverflowError, RecursionError, TypeError, ValueError)


class Instance(NamedTuple):
    """The labels of a person, an animal or an object, in pixels."""

    category: str
    points: dict[str, tuple[float, float, int]]  # x, y, visibility (1: hidden, 2: seen) of the labelled keypoints
    box: tuple[float, float, float, float] | None  # x, y, width, height; None: not labelled
    area: float | None = None  # None: not labelled
    is_crowd: bool = False


class Picture(NamedTuple):
    """An image file with its instances."""

    path: Path
    height: int
    width: int
    instances: list[Instance]


class Category(NamedTuple):
    """A category of instances, with the names of its keypoints."""

    name: str
    keypoints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()  # pairs of keypoint indices to draw lines between


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """All labels of a data set."""

    splits: dict[str, list[Picture]]  # by the name of the file to write; "labels" where the source has no splits
    categories: list[Category]
    flip_pairs: tuple[tuple[int, int], ...] | None = None  # None: the keypoints' names define them
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)  # number of labels by the reason


def labels_without_splits(
    pictures: list[Picture], left_out: Counter[str], keypoints: Sequence[str] | None = None
) -> Labels:
    """The labels of a tool that has neither splits nor keypoints by category: each category gets all keypoints.

    Args:
        keypoints: the names in order; None: all names in order of first appearance.
    """
    instances = [instance for picture in pictures for instance in picture.instances]
    if keypoints is None:
        keypoints = list(dict.fromkeys(name for instance in instances for name in instance.points))
    categories = [Category(name, tuple(keypoints)) for name in dict.fromkeys(i.category for i in instances)]
    return Labels(splits={"labels": pictures}, categories=categories, left_out=left_out)


@contextlib.contextmanager
def parsing(place: Path | str, form: str) -> Iterator[None]:
    """Turns errors that malformed content raises inside the block into a one-line UserError.

    Args:
        place: the file, or the part of it, that the message names.
        form: the expected form.
    """
    try:
        yield
    except _ERRORS as error:
        kind = type(error)
        reason = f"no {error}" if kind is KeyError else f"{'' if kind is ValueError else f'{kind.__name__}: '}{error}"
        raise UserError(f"{place} is not {form} ({' '.join(reason.split())}); export it again or repair it") from error


def numbers(values: Any, count: int) -> list[float]:
    """The values as floats. Raises ValueError unless they are a list of `count` finite numbers."""
    if not are_numbers(values, count):
        raise ValueError(f"{values} where {count} finite numbers were expected")
    return [float(value) for value in values]


def read_yaml(path: Path) -> dict[Any, Any]:
    """The fields of a YAML file. Raises UserError if the file can't be read or is not a mapping."""
    with parsing(path, "a YAML file with fields"):
        try:
            fields = yaml.safe_load(path.read_bytes())
        except yaml.YAMLError as error:
            raise ValueError(error) from error
        return dict(fields.items())


def find(name: str, folders: Sequence[Path]) -> Path:
    """Finds an image in the first folder that has it, by its name or path or by the last part of that path.

    Raises:
        UserError: no folder has it.
    """
    parts = Path(name.replace("\\", "/"))
    for folder in folders:
        for path in (folder / parts, folder / parts.name):
            if path.is_file():
                return Path(os.path.abspath(path))
    searched = " and ".join(dict.fromkeys(map(str, folders)))
    raise UserError(f"the labelled image {name} is not in {searched}; give the folder of the images by --images")


def read_picture(path: Path, labelled_wh: Sequence[Any] | None = None) -> Picture:
    """Reads an image file upright, as labelling tools show it, and returns it without instances.

    Args:
        labelled_wh: the width and height in the labels.

    Raises:
        UserError: the file is missing or damaged, or has another size.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; copy all labelled images")
    width, height = map(as_id, labelled_wh or (None, None))
    size_hw = None if width is None or height is None else (height, width)
    height, width = read_image(path, size_hw, exif=UPRIGHT).size_hw
    return Picture(path, height, width, [])
