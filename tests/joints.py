"""Skeletons of any size, for tests in which the joints' meaning does not matter."""

from mamkpd_jax.skeleton_files import make_skeleton
from mamkpd_jax.skeletons import Skeleton


def skeleton_of(n_joints: int) -> Skeleton:
    """A skeleton of joints without flip pairs."""
    return make_skeleton(f"of {n_joints}", {"joints": [f"joint {i}" for i in range(n_joints)]})
