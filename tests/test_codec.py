"""Keypoints to heatmaps and back."""

import jax.numpy as jnp
import numpy as np
import pytest

from mamkpd_jax.codec import decode_heatmaps, encode_heatmaps, flip_heatmaps, to_input_px

INPUT_HW, HEATMAP_HW, SIGMA_PX = (256, 192), (64, 48), 8.0


def _encode(points, visible=None, heatmap_hw=HEATMAP_HW):
    points = jnp.asarray(points, jnp.float32)
    visible = jnp.ones(points.shape[:2]) if visible is None else jnp.asarray(visible, jnp.float32)
    return encode_heatmaps(points, visible, INPUT_HW, heatmap_hw, SIGMA_PX)


def _loop_target(point, stride, sigma, hw):
    """The target of one joint, written straight from protocol and SimpleBaseline, in float64."""
    heatmap = np.zeros(hw)
    cx, cy = int(point[0] / stride + 0.5), int(point[1] / stride + 0.5)
    for y in range(hw[0]):
        for x in range(hw[1]):
            if abs(x - cx) <= 3 * sigma and abs(y - cy) <= 3 * sigma:
                heatmap[y, x] = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return heatmap


@pytest.mark.parametrize(("stride", "sigma"), [(4, 2.0), (8, 1.0)])
def test_targets_equal_a_loop(stride, sigma):
    hw = (INPUT_HW[0] // stride, INPUT_HW[1] // stride)
    points = np.random.default_rng(0).uniform(0, 1, (1, 6, 2)) * [191, 255]
    heatmaps, weights = _encode(points, heatmap_hw=hw)
    expected = np.stack([_loop_target(p, stride, sigma, hw) for p in points[0]], axis=-1)
    np.testing.assert_allclose(heatmaps[0], expected, atol=1e-6)
    np.testing.assert_array_equal(weights, 1)
    np.testing.assert_array_equal(heatmaps.max(axis=(1, 2)), 1)


def test_round_trip_rounds_to_heatmap_pixels():
    """The plain code keeps a joint to half a heatmap pixel, a quarter on average: its targets sit on whole pixels."""
    points = np.random.default_rng(0).uniform(0, 1, (40, 17, 2)) * [180, 244] + 6
    found, scores = decode_heatmaps(_encode(points)[0])
    np.testing.assert_array_equal(found, np.floor(points / 4 + 0.5))
    np.testing.assert_array_equal(scores, 1)
    error = np.abs(to_input_px(found, INPUT_HW, HEATMAP_HW) - points) / 4
    assert error.max() <= 0.5 and abs(error.mean() - 0.25) < 0.01


def test_decoding_moves_a_quarter_towards_the_larger_neighbour():
    heatmaps = np.zeros((1, 8, 8, 3), np.float32)
    heatmaps[0, 4, 4], heatmaps[0, 4, 5], heatmaps[0, 3, 4] = 1.0, 0.5, 0.4
    heatmaps[0, :, :, 1] = np.roll(heatmaps[0, :, :, 1], -3, axis=1)  # its peak at x = 1, where nothing is moved
    heatmaps[0, :, :, 2] = heatmaps[0, :, :, 2].T
    points, scores = decode_heatmaps(jnp.asarray(heatmaps))
    np.testing.assert_array_equal(points[0], [[4.25, 3.75], [1, 4], [3.75, 4.25]])
    np.testing.assert_array_equal(scores, 1)


@pytest.mark.parametrize(
    ("point", "visible", "weight"),
    [
        ((50.0, 50.0), 1.0, 1.0),
        ((50.0, 50.0), 0.0, 0.0),
        ((-24.0, 50.0), 1.0, 1.0),  # 6 heatmap pixels outside: the window's last column is inside
        ((-28.0, 50.0), 1.0, 0.0),
        ((192 + 20.0, 50.0), 1.0, 1.0),  # heatmap column 53, whose window begins at the last column, 47
        ((192 + 24.0, 50.0), 1.0, 0.0),
        ((50.0, 256 + 24.0), 1.0, 0.0),
    ],
)
def test_weights_are_zero_where_there_is_nothing_to_see(point, visible, weight):
    heatmaps, weights = _encode([[point]], [[visible]])
    assert weights.item() == weight
    assert bool(heatmaps.any()) == bool(weight)


def test_the_flip_test_undoes_the_mirror():
    """Heatmaps of mirrored joints, brought back, agree with those of the joints, but for the column moved in."""
    indices = (1, 0, 2)
    # At a stride of 4, pixel x of the crop is 191 - x in its mirror image: (191 - x) / 4 = 47 - x / 4 + 3 / 4.
    points = np.array([[[64.0, 60.0], [100.0, 90.0], [120.0, 200.0]]])
    mirrored = points[:, indices] * [-1, 1] + [191, 0]
    heatmaps, _ = _encode(points)
    back = flip_heatmaps(_encode(mirrored)[0], indices)
    np.testing.assert_allclose(back[:, :, 1:], heatmaps[:, :, 1:], atol=1e-6)


@pytest.mark.parametrize("sigma", [1.5, 2.0, 3.0])
def test_dark_round_trip_is_exact_below_a_pixel(sigma):
    points = np.random.default_rng(0).uniform(0, 1, (40, 17, 2)) * [120, 180] + 32
    heatmaps, weights = encode_heatmaps(
        jnp.asarray(points, jnp.float32), jnp.ones((40, 17)), INPUT_HW, HEATMAP_HW, 4 * sigma, "dark"
    )
    np.testing.assert_array_equal(weights, 1)
    found, _ = decode_heatmaps(heatmaps, "dark", sigma)
    assert np.abs(found - points / 4).max() < 0.05


def test_dark_stays_at_the_peak_where_nothing_curves():
    heatmaps = jnp.zeros((1, 16, 12, 2)).at[0, :, :, 1].set(0.5)
    points, scores = decode_heatmaps(heatmaps, "dark")
    np.testing.assert_array_equal(points, 0)
    np.testing.assert_array_equal(scores, [[0, 0.5]])
