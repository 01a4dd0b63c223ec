"""Matches pictures with the images of a boxes file, by path or by the trailing number of the file name."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mamkpd_jax.errors import UserError

Parts = tuple[str, ...]

_PLAIN = re.compile(r"(?:COCO_\w+_)?\d+")  # COCO's own names: 000000000785, and COCO_val2014_000000000785 before 2017
_REMEDY = "set --input to the folder that the file's names are relative to"


def parts_of(name: str) -> Parts:
    """The parts of an image's path, normalized: all spellings of a path have the same parts."""
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", "."))


def match_paths(folder: Path, pictures: Sequence[str], names: Iterable[str]) -> dict[str, Any]:
    """The image name that matches each picture, if any: the one that shares the longest ending with its path.

    Choice: in a tie, the picture whose path in `folder` equals the image's name wins. The file name alone decides only
    for names without a folder, or if no pair shares a longer ending: cam0/1.jpg must not match cam1/1.jpg.

    Args:
        folder: what the pictures' names are relative to.

    Raises:
        UserError: two pictures match one image equally well, or two images match one picture.
    """
    root = parts_of(folder.resolve().as_posix())
    left = {picture: root + parts_of(picture) for picture in pictures}
    open_names = {name: parts_of(name) for name in names}
    found: dict[str, str] = {}
    for length in range(max(map(len, open_names.values()), default=0), 0, -1):
        if length == 1 and found:
            open_names = {name: parts for name, parts in open_names.items() if len(parts) == 1}
        ends = _by_end(open_names, length)
        for end, same_end in _by_end(left, length).items():
            pairs = _pairs(same_end, ends.get(end, []))
            found |= pairs
            for picture, name in pairs.items():
                del left[picture], open_names[name]
    return found


def match_numbers(pictures: Sequence[str], numbers: Container[int], *, plain: bool) -> dict[str, Any]:
    """The trailing number of each picture's file name, for pictures whose number is in `numbers`.

    Args:
        plain: whether to refuse file names with more than the number, such as holiday-2.jpg; COCO's are allowed.

    Raises:
        UserError: two pictures have the same number, or a name is not plain.
    """
    found: dict[int, str] = {}
    for picture in pictures:
        number = trailing_number(picture)
        if number is None or number not in numbers:
            continue
        if plain and not _PLAIN.fullmatch(Path(picture).stem):
            raise UserError(
                f"its boxes have image_ids but no file names, and {picture} is not a plain number such as "
                "000000000785.jpg; set --match=number to use the number at the end of each file name"
            )
        if number in found:
            raise UserError(
                f"image {number} may be {found[number]} or {picture}; give them one at a time, or give each box the "
                "file_name of its picture"
            )
        found[number] = picture
    return {picture: number for number, picture in found.items()}


def trailing_number(name: str) -> int | None:
    """The number at the end of a file name without its suffix; None if there is none."""
    digits = re.search(r"([0-9]{1,18})$", Path(name).stem)
    return int(digits[1]) if digits else None


def _by_end(paths: Mapping[str, Parts], length: int) -> dict[Parts, list[str]]:
    """The names, grouped by the last `length` parts of their paths; shorter paths are left out."""
    ends = defaultdict(list)
    for name, parts in paths.items():
        if len(parts) >= length:
            ends[parts[-length:]].append(name)
    return ends


def _pairs(pictures: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """The matching pairs among pictures and image names that all share an ending."""
    by_parts = {parts_of(name): name for name in names}
    exact = {picture: by_parts[parts_of(picture)] for picture in pictures if parts_of(picture) in by_parts}
    pictures = [picture for picture in pictures if picture not in exact]
    names = [name for name in names if name not in exact.values()]
    if len(pictures) > 1 and names:
        raise UserError(f"image {names[0]} may be {pictures[0]} or {pictures[1]}; {_REMEDY}")
    if pictures and len(names) > 1:
        raise UserError(f"{pictures[0]} may be image {names[0]} or {names[1]}; {_REMEDY}")
    return exact | dict(zip(pictures, names, strict=False))
