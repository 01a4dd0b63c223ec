"""The classes of a detector that a pose model is for."""

import re
from collections.abc import Mapping, Sequence

from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import Skeleton

# Source: COCO's 80 detection classes, in the order of detectors.
COCO_NAMES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    *("microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
    *("hair drier", "toothbrush"),
)
N_COCO = len(COCO_NAMES)
PERSON = {"person": 0}
ANIMALS = {COCO_NAMES[index]: index for index in range(14, 24)}
_OF_SKELETON = {
    **dict.fromkeys(("coco", "mpii", "lspet"), PERSON),
    **dict.fromkeys(("ap10k", "animalpose"), ANIMALS),
    # A data set of one or more categories is named after the first.
    "person": PERSON,
    **dict.fromkeys(ANIMALS, ANIMALS),
}
_SHOWN = 12  # class names in a message


def select_classes(
    skeleton: Skeleton,
    asked: Sequence[str | int] | None = None,
    names: Mapping[int, str] = dict(enumerate(COCO_NAMES)),
    n: int | None = N_COCO,
) -> list[int]:
    """The indices of the classes that a detector should detect.

    Upper and lower case are the same. Choice: if nothing is asked for, the classes named after the skeleton or what its
    model is for (people, or COCO's animals); a detector with one class detects that.

    Args:
        asked: names or indices; None: those for the skeleton. A class may have a number as its name.
        names: those that are known of the detector's n classes, by index.
        n: None if the number is unknown.

    Raises:
        UserError: a name or index is unknown, or no class is known for the skeleton.
    """
    indices: dict[str, list[int]] = {}
    for index, name in names.items():
        if n is None or index < n:
            indices.setdefault(name.lower(), []).append(index)
    known = ", ".join([*indices][:_SHOWN]) + (f" and {len(indices) - _SHOWN} more" if len(indices) > _SHOWN else "")
    if asked is None:
        subjects = {skeleton.name.lower(), *(subject_of(skeleton) or {})}
        found = [index for name, several in indices.items() if name in subjects for index in several]
        if not found and n != 1:
            raise UserError(
                f"no class is known for the skeleton {skeleton.name} (the detector's classes: {known or 'no names'}); "
                "set --classes, or --boxes=whole to take each picture as one box"
            )
        return found or [0]
    if not asked:
        raise UserError("--classes is empty; give at least one class, or leave it out")
    found = []
    for name in asked:
        several = indices.get(name.lower(), []) if isinstance(name, str) else []
        found += several or _index(str(name), n, known)
    return found


def _index(text: str, n: int | None, known: str) -> list[int]:
    """The class with this index; `known` are names for the error."""
    if re.fullmatch(r"\d{1,9}", text) and (n is None or int(text) < n):
        return [int(text)]
    below = "" if n is None else f" below {n}"
    raise UserError(f"--classes names {text!r}; expected an index{below}{f', or one of {known}' if known else ''}")


def subject_of(skeleton: Skeleton) -> dict[str, int] | None:
    """The COCO classes that a skeleton's model is for, by name; None if no class is known."""
    return _OF_SKELETON.get(skeleton.name.lower())


def subject(skeleton: Skeleton, n: int) -> str:
    """The number of poses in words: "no people", "1 person", "3 animals" or, for unknown classes, "1 pose"."""
    match subject_of(skeleton):
        case None:
            one, several = "pose", "poses"
        case classes if classes == PERSON:
            one, several = "person", "people"
        case _:
            one, several = "animal", "animals"
    return f"{n or 'no'} {one if n == 1 else several}"
