"""The classes of a detector that a pose model is for."""

from collections.abc import Mapping, Sequence

from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import Skeleton

# Source: the order of COCO's 80 detection classes. These are the people and animals among them.
PERSON = {"person": 0}
ANIMALS = {
    **{"bird": 14, "cat": 15, "dog": 16, "horse": 17, "sheep": 18},
    **{"cow": 19, "elephant": 20, "bear": 21, "zebra": 22, "giraffe": 23},
}
COCO_NAMES = {index: name for name, index in (PERSON | ANIMALS).items()}
N_COCO = 80
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
    names: Mapping[int, str] = COCO_NAMES,
    n: int = N_COCO,
) -> list[int]:
    """The indices of the classes that a detector should detect.

    Upper and lower case are the same. Choice: if nothing is asked for, the classes named after the skeleton or what its
    model is for (people, or COCO's animals); a detector with one class detects that.

    Args:
        asked: names or indices; None: those for the skeleton.
        names: those that are known of the detector's n classes, by index.

    Raises:
        UserError: a name or index is unknown, or no class is known for the skeleton.
    """
    indices = {name.lower(): index for index, name in names.items() if index < n}
    known = ", ".join([*indices][:_SHOWN]) + (f" and {len(indices) - _SHOWN} more" if len(indices) > _SHOWN else "")
    if asked is None:
        subjects = {skeleton.name.lower(), *(subject_of(skeleton) or {})}
        found = [index for name, index in indices.items() if name in subjects] or [0] * (n == 1)
        if not found:
            raise UserError(
                f"no class is known for the skeleton {skeleton.name} (the detector's {n} classes: "
                f"{known or 'without names'}); set --classes, or --boxes=whole to take each picture as one box"
            )
        return found
    found = [indices.get(str(name).lower(), int(name) if str(name).isdecimal() else n) for name in asked]
    for name, index in zip(asked, found, strict=True):
        if index >= n:
            raise UserError(
                f"--classes names {str(name)!r}; expected an index below {n}{f', or one of {known}' if known else ''}"
            )
    if not found:
        raise UserError("--classes is empty; give at least one class, or leave it out")
    return found


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
