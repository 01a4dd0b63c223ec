"""MamKPD, a Mamba baseline for real-time 2D keypoint detection, in JAX and Flax NNX."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mamkpd_jax.inference.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["Predictor"]

# An image file of a few kilobytes can decode to gigabytes. OpenCV reads this limit only once, on import.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**27))


def __getattr__(name: str) -> Any:
    """Imports `Predictor` on first use, so that importing the package does not import jax."""
    if name == "Predictor":
        from mamkpd_jax.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
