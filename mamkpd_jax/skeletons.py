"""Skeletons: the joints of a data set, which of them mirror each other, and how precisely people place them."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

from mamkpd_jax.errors import UserError

# Joints with a score up to it are not drawn and don't count in a pose's score. Source: HRNet's test code.
JOINT_THRESHOLD = 0.2

_DEFAULT_SIGMA = 0.05


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """The joints of one data set, by index."""

    name: str
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]  # of the OKS, a joint
    upper_body: tuple[int, ...]
    lower_body: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]  # to draw

    @property
    def n_joints(self) -> int:
        return len(self.joints)

    @property
    def flip_indices(self) -> tuple[int, ...]:
        """The joint that each joint becomes in the mirror."""
        indices = list(range(self.n_joints))
        for a, b in self.flip_pairs:
            indices[a], indices[b] = b, a
        return tuple(indices)


# Source: COCO's annotation files (joints, edges) and COCOeval (sigmas).
COCO = Skeleton(
    name="coco",
    joints=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
    upper_body=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    lower_body=(11, 12, 13, 14, 15, 16),
    edges=(
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
        *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
)

# Source: the joints of MPII's annotations in the order of HRNet's files; MMPose's sigmas, which MPII's metric ignores.
MPII = Skeleton(
    name="mpii",
    joints=(
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax"),
        *("upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder"),
        *("left_shoulder", "left_elbow", "left_wrist"),
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    sigmas=(
        *(0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026),
        *(0.026, 0.026, 0.062, 0.072, 0.179, 0.179, 0.072, 0.062),
    ),
    upper_body=(7, 8, 9, 10, 11, 12, 13, 14, 15),
    lower_body=(0, 1, 2, 3, 4, 5, 6),
    edges=(
        *((0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9)),
        *((8, 12), (12, 11), (11, 10), (8, 13), (13, 14), (14, 15)),
    ),
)

# Source: AP-10K (arXiv 2108.12617), annotation files and evaluation code; halves as in MMPose.
AP10K = Skeleton(
    name="ap10k",
    joints=(
        *("left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw"),
        *("right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw"),
        *("right_hip", "right_knee", "right_back_paw"),
    ),
    flip_pairs=((0, 1), (5, 8), (6, 9), (7, 10), (11, 14), (12, 15), (13, 16)),
    sigmas=(
        *(0.025, 0.025, 0.026, 0.035, 0.035, 0.079, 0.072, 0.062, 0.079),
        *(0.072, 0.062, 0.107, 0.087, 0.089, 0.107, 0.087, 0.089),
    ),
    upper_body=(0, 1, 2, 3, 5, 6, 7, 8, 9, 10),
    lower_body=(4, 11, 12, 13, 14, 15, 16),
    edges=(
        *((0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (5, 6), (6, 7), (3, 8), (8, 9), (9, 10)),
        *((4, 11), (11, 12), (12, 13), (4, 14), (14, 15), (15, 16)),
    ),
)

# Source: Leeds Sports Pose Extended (Johnson and Everingham, CVPR 2011). Choice: one sigma, as none was published.
LSPET = Skeleton(
    name="lspet",
    joints=(
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist"),
        *("right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top"),
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)),
    sigmas=(_DEFAULT_SIGMA,) * 14,
    upper_body=(6, 7, 8, 9, 10, 11, 12, 13),
    lower_body=(0, 1, 2, 3, 4, 5),
    edges=(
        *((0, 1), (1, 2), (5, 4), (4, 3), (2, 3), (6, 7), (7, 8), (11, 10), (10, 9)),
        *((8, 9), (8, 12), (9, 12), (12, 13), (2, 8), (3, 9)),
    ),
)

# Source: Animal-Pose (Cao et al., ICCV 2019). Choice: one sigma, as none was published.
ANIMALPOSE = Skeleton(
    name="animalpose",
    joints=(
        *("left_eye", "right_eye", "nose", "left_ear", "right_ear", "left_front_elbow", "right_front_elbow"),
        *("left_back_elbow", "right_back_elbow", "left_front_knee", "right_front_knee", "left_back_knee"),
        *("right_back_knee", "left_front_paw", "right_front_paw", "left_back_paw", "right_back_paw"),
        *("throat", "withers", "tailbase"),
    ),
    flip_pairs=((0, 1), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    sigmas=(_DEFAULT_SIGMA,) * 20,
    upper_body=(0, 1, 2, 3, 4, 5, 6, 9, 10, 13, 14, 17, 18),
    lower_body=(7, 8, 11, 12, 15, 16, 19),
    edges=(
        *((0, 1), (0, 2), (1, 2), (0, 3), (1, 4), (2, 17), (18, 19)),
        *((5, 9), (6, 10), (7, 11), (8, 12), (9, 13), (10, 14), (11, 15), (12, 16)),
    ),
)

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO, MPII, AP10K, LSPET, ANIMALPOSE)}


_LEFT = re.compile("left|(?<![a-z])l(?![a-z])")
_RIGHT = {"left": "right", "l": "r"}


def skeleton_of_category(category: Any) -> Skeleton:
    """The skeleton that a category of a COCO-form file tells of: its 'keypoints' and, if there is one, its 'skeleton'.

    Joints that differ by 'left' and 'right' alone, or by a single 'l' and 'r', mirror each other. Choice: a sigma of
    0.05 for every joint, and no halves, so that there is no half-body augmentation.

    Raises:
        UserError: the category names no joints.
    """
    fields = category if isinstance(category, dict) else {}
    joints, edges = fields.get("keypoints"), fields.get("skeleton") or []
    if not isinstance(joints, list) or not all(isinstance(joint, str) for joint in joints):
        raise UserError("a category of the annotations has no list 'keypoints' of joints; set config.data.skeleton")
    if not isinstance(edges, list) or not all(_is_pair(edge) for edge in edges):
        raise UserError("a category of the annotations has a 'skeleton' that is no list of pairs; repair the file")
    names = [joint.lower() for joint in joints]
    mirrored = [_LEFT.sub(lambda left: _RIGHT[left[0]], name) for name in names]
    pairs = [
        [i, names.index(other)]
        for i, (name, other) in enumerate(zip(names, mirrored, strict=True))
        if other != name and other in names
    ]
    # The file's edges count from 1.
    edges = [[a - 1, b - 1] for a, b in edges]
    return make_skeleton(str(fields.get("name")), {"joints": joints, "flip_pairs": pairs, "edges": edges})


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(end, int) for end in value)


def make_skeleton(name: str, fields: Any) -> Skeleton:
    """A skeleton of plain lists: names 'joints', numbers 'sigmas', and by index all other fields of `Skeleton`.

    All but the joints may be left out.

    Raises:
        UserError: an unknown field, no joints, another number of sigmas, an index out of range, a joint in two pairs.
    """
    joints = fields.get("joints") if isinstance(fields, dict) else None
    known = {field.name for field in dataclasses.fields(Skeleton)} - {"name"}
    if not isinstance(joints, list) or not joints or fields.keys() - known:
        raise UserError(
            f"the skeleton {name} is {fields}; expected a list of joints, and of other fields only "
            f"{', '.join(sorted(known - {'joints'}))}"
        )
    try:
        skeleton = Skeleton(
            name=name,
            joints=tuple(str(joint) for joint in joints),
            flip_pairs=tuple((int(a), int(b)) for a, b in fields.get("flip_pairs", ())),
            sigmas=tuple(float(sigma) for sigma in fields.get("sigmas", (_DEFAULT_SIGMA,) * len(joints))),
            upper_body=tuple(int(joint) for joint in fields.get("upper_body", ())),
            lower_body=tuple(int(joint) for joint in fields.get("lower_body", ())),
            edges=tuple((int(a), int(b)) for a, b in fields.get("edges", ())),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"the skeleton {name} has a field that is no list of numbers or pairs: {error}") from error
    check_skeleton(skeleton)
    return skeleton


def check_skeleton(skeleton: Skeleton) -> None:
    """Raises UserError for no joints, another number of sigmas, an index out of range, or a joint in two pairs."""
    name, n = skeleton.name, skeleton.n_joints
    mirrored = [joint for pair in skeleton.flip_pairs for joint in pair]
    drawn = [joint for edge in skeleton.edges for joint in edge]
    if len(set(skeleton.joints)) != n:
        raise UserError(f"the skeleton {name} has two joints of one name; names must be unique")
    precise = [0 < sigma < math.inf for sigma in skeleton.sigmas]  # False for NaN, which JSON files can hold
    if precise != [True] * n or len(set(mirrored)) != len(mirrored):
        raise UserError(f"the skeleton {name} needs a sigma above 0 for each joint, and each joint in one flip pair")
    if not {*mirrored, *drawn, *skeleton.upper_body, *skeleton.lower_body} <= set(range(n)):
        raise UserError(f"the skeleton {name} names joints outside 0 to {n - 1}: indices count from 0")


def read_skeleton(path: Path) -> Skeleton:
    """A skeleton from a JSON file with the fields of `make_skeleton`.

    Raises:
        UserError: it is no such file.
    """
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"config.data.skeleton: {path} is no skeleton file ({error})") from error
    return make_skeleton(path.stem, fields)


def find_skeleton(name: str, categories: Any) -> Skeleton:
    """A ready skeleton by name, one from a file, or where `name` is empty the one that all of the categories tell of.

    Raises:
        UserError: there is none, or the categories differ in their joints.
    """
    if name in SKELETONS:
        return SKELETONS[name]
    if name:
        return read_skeleton(Path(name))
    found = [skeleton_of_category(category) for category in categories] if isinstance(categories, list) else []
    if len({skeleton.joints for skeleton in found}) != 1:
        raise UserError(
            f"the {len(found)} categories of the annotations have not the same joints; set config.data.skeleton to a "
            "ready skeleton or to a skeleton file"
        )
    return found[0]
