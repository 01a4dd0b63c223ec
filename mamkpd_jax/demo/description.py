"""The description of a model's keypoints for the demo's page, with either backend."""

from typing import Any

from mamkpd_jax.skeletons import JOINT_THRESHOLD, Skeleton


def describe_keypoints(skeleton: Skeleton) -> dict[str, Any]:
    """The keypoints' names, their sides ("left", "right" or ""), the edges to draw, and the threshold of a score."""
    return {
        "keypoints": skeleton.joints,
        "sides": [side for side, _ in skeleton.meanings],
        "edges": skeleton.edges,
        "keypoint_threshold": JOINT_THRESHOLD,
    }
