"""MamKPD, a Mamba baseline for real-time 2D keypoint detection, in JAX and Flax NNX."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mamkpd_jax.inference.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["Predictor"]

# A picture of a few kilobytes can unpack to gigabytes. OpenCV reads its limit once, when it is loaded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**27))


def __getattr__(name: str) -> Any:
    """Importing the package alone stays cheap: what needs jax is imported when it is asked for."""
    if name == "Predictor":
        from mamkpd_jax.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
