"""Skeletons: the joints of each data set, their flip pairs, and how precisely annotators place them."""

import dataclasses

from mamkpd_jax.keypoint_names import Meaning, meaning, sides

# Joints that score at most this are not drawn, and don't count in a pose's score. Source: HRNet's test code.
JOINT_THRESHOLD = 0.2

DEFAULT_SIGMA = 0.05  # Choice: for joints without a published sigma


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """The joints of one data set, by index."""

    name: str
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]  # of the OKS, one for each joint
    upper_body: tuple[int, ...]
    lower_body: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]  # lines of drawn poses

    @property
    def n_joints(self) -> int:
        """The number of joints."""
        return len(self.joints)

    @property
    def flip_indices(self) -> tuple[int, ...]:
        """For each joint, the joint that it becomes in a mirrored image."""
        indices = list(range(self.n_joints))
        for a, b in self.flip_pairs:
            indices[a], indices[b] = b, a
        return tuple(indices)

    @property
    def meanings(self) -> tuple[Meaning, ...]:
        """The side and the body part of each joint, whatever the spelling of its name."""
        return sides(self.joints).meanings

    def index(self, joint: str) -> int:
        """The index of a joint by name, in any spelling: "left_shoulder" finds "leftShoulder" and "shoulder (L)" too.

        Raises:
            ValueError: the skeleton has no such joint.
        """
        return self.meanings.index(meaning(joint))


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
    sigmas=(DEFAULT_SIGMA,) * 14,
    upper_body=(6, 7, 8, 9, 10, 11, 12, 13),
    lower_body=(0, 1, 2, 3, 4, 5),
    edges=(
        *((0, 1), (1, 2), (5, 4), (4, 3), (2, 3), (6, 7), (7, 8), (11, 10), (10, 9)),
        *((8, 9), (8, 12), (9, 12), (12, 13), (2, 8), (3, 9)),
    ),
)

# Source: Animal-Pose (Cao et al., ICCV 2019); the sigmas are MMPose's by joint name, which differ for the two ears.
ANIMALPOSE = Skeleton(
    name="animalpose",
    joints=(
        *("left_eye", "right_eye", "nose", "left_ear", "right_ear", "left_front_elbow", "right_front_elbow"),
        *("left_back_elbow", "right_back_elbow", "left_front_knee", "right_front_knee", "left_back_knee"),
        *("right_back_knee", "left_front_paw", "right_front_paw", "left_back_paw", "right_back_paw"),
        *("throat", "withers", "tailbase"),
    ),
    flip_pairs=((0, 1), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    sigmas=(
        *(0.025, 0.025, 0.035, 0.026, 0.035, 0.107, 0.107, 0.107, 0.107, 0.087),
        *(0.087, 0.087, 0.087, 0.089, 0.089, 0.089, 0.089, 0.1, 0.1, 0.1),
    ),
    upper_body=(0, 1, 2, 3, 4, 5, 6, 9, 10, 13, 14, 17, 18),
    lower_body=(7, 8, 11, 12, 15, 16, 19),
    edges=(
        *((0, 1), (0, 2), (1, 2), (0, 3), (1, 4), (2, 17), (18, 19)),
        *((5, 9), (6, 10), (7, 11), (8, 12), (9, 13), (10, 14), (11, 15), (12, 16)),
    ),
)

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO, MPII, AP10K, LSPET, ANIMALPOSE)}
