"""The One-Euro filter: little jitter at rest, little lag in motion."""

import numpy as np

from mamkpd_jax.inference.smoothing import OneEuro

_SIDE_PX = 200.0
_FPS = 30


def _smoothed(points: np.ndarray) -> np.ndarray:
    one = OneEuro()
    return np.array([one(p, i / _FPS, _SIDE_PX) for i, p in enumerate(points)])


def test_jitter_at_rest_falls_to_a_third():
    noisy = 50 + np.random.default_rng(0).normal(0, 1, (300, 17, 2))
    smooth = _smoothed(noisy)
    assert smooth[30:].std(axis=0).mean() < noisy[30:].std(axis=0).mean() / 3
    np.testing.assert_allclose(smooth[30:].mean(axis=(0, 1)), 50, atol=0.3)


def test_a_moving_joint_lags_less_than_a_frame():
    """It moves by a crop side in half a second; a fixed filter of 1 Hz would lag by five frames."""
    path = np.linspace(0, _SIDE_PX, _FPS // 2)[:, None, None] * np.ones((1, 17, 2))
    behind = path[-1] - _smoothed(path)[-1]
    step = _SIDE_PX / (_FPS // 2 - 1)
    assert 0 <= behind.min() and behind.max() < step


def test_still_joints_do_not_move():
    still = np.full((10, 17, 2), 7.0)
    np.testing.assert_array_equal(_smoothed(still), still)
