"""Options that pictures and videos share."""

import dataclasses
from pathlib import Path

from mamkpd_jax.skeletons import JOINT_THRESHOLD


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Where the predictions go, and which are kept and drawn."""

    output: Path
    category_id: int = 1  # of the results
    box_threshold: float = 0.3  # boxes with a lower score are left out
    suppress: bool = True  # keep only the best of poses that are nearly the same
    draw: bool = True
    joint_threshold: float = JOINT_THRESHOLD  # joints with a score up to it are not drawn
