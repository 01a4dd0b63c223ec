"""The One-Euro filter: less jitter of joints at rest, little lag of joints in motion.

Source: Casiez, Roussel and Vogel, CHI 2012.
"""

import numpy as np
from jaxtyping import Float

# Choice: speeds are in crop sides per second, so that near and far people are smoothed alike.
_MIN_CUTOFF_HZ = 1.0
_SPEED_CUTOFF_HZ = 1.0
_MIN_STEP_S = 1e-6  # frames may have the same time
_BETA = 2.0  # increase of the cutoff in Hz per crop side per second


class OneEuro:
    """Smooths the joints of one pose, frame by frame."""

    def __init__(self) -> None:
        self._last: tuple[Float[np.ndarray, "j 2"], Float[np.ndarray, "j 2"], float] | None = None

    def __call__(self, points: Float[np.ndarray, "j 2"], time_s: float, side_px: float) -> Float[np.ndarray, "j 2"]:
        """The smoothed joints of the next frame.

        Args:
            points: the joints in pixels of the image.
            time_s: the frame's time; it must not decrease from call to call.
            side_px: the side of the pose's crop in pixels of the image.
        """
        if self._last is None:
            self._last = points, np.zeros_like(points), time_s
            return points
        before, speeds, time_before_s = self._last
        step_s = max(time_s - time_before_s, _MIN_STEP_S)
        speeds = speeds + _alpha(_SPEED_CUTOFF_HZ, step_s) * ((points - before) / step_s - speeds)
        speed = np.linalg.norm(speeds, axis=1, keepdims=True) / side_px
        points = before + _alpha(_MIN_CUTOFF_HZ + _BETA * speed, step_s) * (points - before)
        self._last = points, speeds, time_s
        return points


def _alpha(cutoff_hz, step_s: float):
    """The paper's smoothing factor: the weight of the new value in a low-pass filter with this cutoff."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * step_s))
