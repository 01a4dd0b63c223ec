"""Skeletons: the joints of a data set, which of them mirror each other, and how precisely people place them."""

import dataclasses


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
