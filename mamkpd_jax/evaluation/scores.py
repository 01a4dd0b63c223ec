"""What all metrics take and give."""

import dataclasses
from typing import Any

from mamkpd_jax.data.annotation_files import are_numbers
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The values of a metric by name, the one to judge by first; and a score from 0 to 1 by annotation."""

    values: dict[str, float]
    instances: dict[int, float]


def check_poses(results: Any, skeleton: Skeleton) -> None:
    """Raises UserError with the first result that holds no pose of the skeleton in finite numbers."""
    if not isinstance(results, list):
        raise UserError(f"the results are no list but {type(results).__name__}; expected COCO's results form")
    for i, result in enumerate(results):
        pose = result.get("keypoints") if isinstance(result, dict) else None
        if not are_numbers(pose, 3 * skeleton.n_joints):
            raise UserError(
                f"result {i} has no 'keypoints' of {3 * skeleton.n_joints} finite numbers, three for each of the "
                f"{skeleton.n_joints} joints of {skeleton.name}; look for NaN or for poses of another skeleton"
            )
