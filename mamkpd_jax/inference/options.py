"""What is wanted of pictures and videos alike."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where results go, and which and how."""

    output: Path
    category_id: int = 1  # of the results
    box_threshold: float = 0.3  # boxes with a lower score are left out
    suppress: bool = True  # of poses that are nearly the same, all but the best
    draw: bool = True
    joint_threshold: float = 0.2  # joints with a score up to it are not drawn
