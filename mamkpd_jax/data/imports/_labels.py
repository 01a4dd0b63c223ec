"""What the readers of labels have in common: their result, pictures and YAML files.

Choice: coordinates are taken unchanged, shares of an image times its size. Labelling tools count from the upper left
corner of the first pixel, COCO's annotations too, and the half pixel to its centre is below a labeller's precision.
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

UNNAMED = "object"  # the category of instances whose labels name none
HIDDEN = {"hidden", "occluded"}  # words for keypoints that can't be seen, where a tool has no field for it
_ERRORS = (AttributeError, IndexError, KeyError, OSError, OverflowError, RecursionError, TypeError, ValueError)


class Instance(NamedTuple):
    """The labels of a person, an animal or a thing, in pixels."""

    category: str
    points: dict[str, tuple[float, float, int]]  # x, y, visibility (1: hidden, 2: seen) of the labelled keypoints
    box: tuple[float, float, float, float] | None  # x, y, width, height; None: the labels have none
    area: float | None = None  # None: the labels have none
    is_crowd: bool = False


class Picture(NamedTuple):
    """An image file with its instances."""

    path: Path
    height: int
    width: int
    instances: list[Instance]


class Category(NamedTuple):
    """A kind of instances."""

    name: str
    keypoints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()  # to draw, by index


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """All labels of a data set."""

    splits: dict[str, list[Picture]]  # by the name of their file; "labels" where the source has no splits
    categories: list[Category]
    flip_pairs: tuple[tuple[int, int], ...] | None = None  # None: keypoints' names tell
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)  # by what it was


def pooled(pictures: list[Picture], left_out: Counter[str], keypoints: Sequence[str] | None = None) -> Labels:
    """Labels without splits of a tool whose categories have no keypoints of their own: all have all keypoints.

    Args:
        keypoints: their names in order; None: in the order of their first appearance.
    """
    instances = [instance for picture in pictures for instance in picture.instances]
    if keypoints is None:
        keypoints = list(dict.fromkeys(name for instance in instances for name in instance.points))
    categories = [Category(name, tuple(keypoints)) for name in dict.fromkeys(i.category for i in instances)]
    return Labels(splits={"labels": pictures}, categories=categories, left_out=left_out)


@contextlib.contextmanager
def parsing(place: Path | str, form: str) -> Iterator[None]:
    """Turns what content of another form raises inside the block into a UserError of one line.

    Args:
        place: a file, or a part of one.
        form: what it should be.
    """
    try:
        yield
    except _ERRORS as error:
        kind = type(error)
        reason = f"no {error}" if kind is KeyError else f"{'' if kind is ValueError else f'{kind.__name__}: '}{error}"
        raise UserError(f"{place} is not {form} ({' '.join(reason.split())}); export it again or repair it") from error


def numbers(values: Any, count: int) -> list[float]:
    """So many finite numbers; raises ValueError for anything else."""
    if not are_numbers(values, count):
        raise ValueError(f"{values} where {count} finite numbers were expected")
    return [float(value) for value in values]


def read_yaml(path: Path) -> dict[Any, Any]:
    """The fields of a YAML file; raises UserError if it has none."""
    with parsing(path, "a YAML file with fields"):
        try:
            fields = yaml.safe_load(path.read_bytes())
        except yaml.YAMLError as error:
            raise ValueError(error) from error
        return dict(fields.items())


def find(name: str, folders: Sequence[Path]) -> Path:
    """The image of a name, which may be a path, in the first folder that has it or its last part.

    Raises:
        UserError: none has.
    """
    parts = Path(name.replace("\\", "/"))
    for folder in folders:
        for path in (folder / parts, folder / parts.name):
            if path.is_file():
                return Path(os.path.abspath(path))
    searched = " and ".join(dict.fromkeys(map(str, folders)))
    raise UserError(f"the labelled image {name} is not in {searched}; give the folder of the images by --images")


def read_picture(path: Path, labelled_wh: Sequence[Any] | None = None) -> Picture:
    """A picture, without instances yet. Labelling tools show pictures upright, as their EXIF data says.

    Args:
        labelled_wh: width and height that the labels were made at.

    Raises:
        UserError: it is missing, damaged or of another size.
    """
    if not path.is_file():
        raise UserError(f"{path}, a labelled image, is missing; copy the images completely")
    width, height = map(as_id, labelled_wh or (None, None))
    size_hw = None if width is None or height is None else (height, width)
    height, width = read_image(path, size_hw, exif=UPRIGHT).size_hw
    return Picture(path, height, width, [])
