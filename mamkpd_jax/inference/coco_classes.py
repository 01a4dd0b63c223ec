"""The classes of a COCO detector that a pose model is for: people or animals."""

from collections.abc import Sequence

from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import Skeleton

# Source: the order of COCO's 80 detection classes. These are the people and animals among them.
PERSON = {"person": 0}
ANIMALS = {
    **{"bird": 14, "cat": 15, "dog": 16, "horse": 17, "sheep": 18},
    **{"cow": 19, "elephant": 20, "bear": 21, "zebra": 22, "giraffe": 23},
}
N_CLASSES = 80
_BY_NAME = PERSON | ANIMALS
_OF_SKELETON = {
    **dict.fromkeys(("coco", "mpii", "lspet"), PERSON),
    **dict.fromkeys(("ap10k", "animalpose"), ANIMALS),
    # A data set of one or more categories is named after the first.
    "person": PERSON,
    **dict.fromkeys(ANIMALS, ANIMALS),
}


def classes_of(skeleton: Skeleton) -> list[int]:
    """The indices of the COCO classes that a skeleton's model is for.

    Raises:
        UserError: the skeleton is neither built in nor named after a person or animal class.
    """
    classes = subject_of(skeleton)
    if classes is None:
        raise UserError(
            f"no class of COCO is known for the skeleton {skeleton.name}; set --classes, or --boxes=whole to "
            "take each picture as one box"
        )
    return list(classes.values())


def subject_of(skeleton: Skeleton) -> dict[str, int] | None:
    """The COCO classes that a skeleton's model is for, by name; None if no class is known."""
    return _OF_SKELETON.get(skeleton.name.lower())


def parse_classes(names: Sequence[str]) -> list[int]:
    """Class indices from names or indices.

    Raises:
        UserError: a name is unknown.
    """
    for name in names:
        if name not in _BY_NAME and not name.isdecimal():
            raise UserError(f"--classes names {name!r}; expected an index, or one of {', '.join(_BY_NAME)}")
    return [int(name) if name.isdecimal() else _BY_NAME[name] for name in names]


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
