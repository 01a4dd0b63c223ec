"""Finds left and right in keypoint names, in the spellings that data sets use."""

import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

_LETTER, _SMALL = r"[^\W\d_]", r"[^\W\d_A-Z]"
_HUMP = rf"(?=[A-Z]{_SMALL})"  # before the next word of a name such as "lHand"
# The ways to mark a side, the most reliable first: a word; a separate letter ("eye_l", "hand (L)", "handL", "lHand"); a
# letter after that of front, back or hind ("FL_paw", "pawBR"); a letter that nothing separates ("lhand", "LHAND",
# "HANDL").
_MARKS = (
    re.compile("left|right|lft|rgt", re.IGNORECASE),
    re.compile(rf"(?<!{_LETTER})[LRlr](?!{_LETTER})|(?<={_SMALL})[LR](?!{_LETTER})|(?<!{_LETTER})[LRlr]{_HUMP}"),
    re.compile(
        rf"(?<=\b[FBHfbh])[LRlr](?!{_LETTER})|(?<=_[FBHfbh])[LRlr](?!{_LETTER})|(?<={_SMALL}[FBH])[LR](?!{_LETTER})"
    ),
    re.compile(rf"^[LRlr](?={_LETTER})|(?<=[A-Z]{{2}})[LR]$"),
)
# Marks that count even if no keypoint has the other side. "upright" and the vertebra "L5" have no such mark.
_SURE = re.compile(
    rf"(?<!{_LETTER})(?i:left|right)|(?<={_SMALL})(?:Left|Right)(?!{_SMALL})"
    rf"|(?<!\w)[LRlr](?!\w)|(?<=_)[LRlr](?!{_LETTER}|\d)|(?<!{_LETTER})[LRlr](?=_)|(?<={_SMALL})[LR](?!{_LETTER}|\d)"
    rf"|(?<![^\W_])[LRlr]{_HUMP}"
)


# Abbreviations in the keypoint names of MMPose's animal files, such as L_EarBase and R_F_Paw.
_LONG = {"earbase": "ear"} | {
    f"{end[0]}{part}": f"{end}{part}" for end in ("front", "back") for part in ("elbow", "knee", "paw")
}


class Meaning(NamedTuple):
    """The side and the body part that a keypoint's name means, whatever its spelling."""

    side: str  # "left", "right" or ""
    part: str  # without its side, spaces and capitals, such as "shoulder"


class Sides(NamedTuple):
    """Which keypoints mirror each other, according to their names."""

    pairs: tuple[tuple[int, int], ...]  # indices, the left one first
    one_sided: tuple[int, ...]  # indices of names that have a side, but whose other side is missing
    alike: tuple[tuple[int, int], ...]  # indices of unpaired names that differ in one letter only, l and r
    meanings: tuple[Meaning, ...]  # of every name


@functools.cache
def sides(names: tuple[str, ...]) -> Sides:
    """Finds the pairs among names: two names are a pair if they differ only in the mark of the side."""
    found: dict[int, tuple[str, str]] = {}  # the side and the rest of the name, by index
    pairs = []
    for mark in _MARKS:
        by_rest: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"left": [], "right": []})
        for i, name in enumerate(names):
            for side, rest in _marked(mark, name):
                if i not in found:
                    by_rest[rest][side].append(i)
        for rest, by_side in by_rest.items():
            both = by_side["left"] + by_side["right"]
            if [len(one) for one in by_side.values()] == [1, 1] and not found.keys() & set(both):
                pairs.append((both[0], both[1]))
                found |= {both[0]: ("left", rest), both[1]: ("right", rest)}
    one_sided = tuple(i for i, name in enumerate(names) if i not in found and _SURE.search(name))
    others = [(i, name) for i, name in enumerate(names) if i not in found]
    alike = tuple((i, j) for i, a in others for j, b in others if _are_alike(a, b))
    meanings = tuple(Meaning(*_plain(*found[i])) if i in found else meaning(name) for i, name in enumerate(names))
    return Sides(tuple(sorted(pairs)), one_sided, alike, meanings)


def meaning(name: str) -> Meaning:
    """The meaning of a single name, without other names to compare it with."""
    mark = _SURE.search(name)
    return Meaning(*_plain("", name)) if mark is None else Meaning(*_plain(*_split(name, mark)))


def _are_alike(left: str, right: str) -> bool:
    """Whether the names differ in one letter only: l in the first, r in the second."""
    if len(left) != len(right):
        return False
    return [(a, b) for a, b in zip(left.lower(), right.lower(), strict=True) if a != b] == [("l", "r")]


def _marked(mark: re.Pattern[str], name: str) -> Iterator[tuple[str, str]]:
    """Yields each side that a name can have, with the rest of the name."""
    for match in mark.finditer(name):
        yield _split(name, match)


def _split(name: str, match: re.Match[str]) -> tuple[str, str]:
    side = "left" if match[0][0] in "lL" else "right"
    return side, f"{name[: match.start()]}|{name[match.end() :]}".lower()


def _plain(side: str, rest: str) -> tuple[str, str]:
    part = re.sub(r"[\W_]+", "", rest.lower())
    return side, _LONG.get(part, part)
