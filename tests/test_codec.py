"""Encoding keypoints as heatmaps and decoding them."""

import cv2
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
    """The target of one joint in float64, written directly from SimpleBaseline's definition."""
    heatmap = np.zeros(hw)
    cx, cy = int(point[0] / stride + 0.5), int(point[1] / stride + 0.5)
    for y in range(hw[0]):
        for x in range(hw[1]):
            if abs(x - cx) <= 3 * sigma and abs(y - cy) <= 3 * sigma:
                heatmap[y, x] = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return heatmap


def _mmpose_target(x, y, codec, sigma=2.0):
    """MMPose's target and weight of a joint in heatmap pixels, computed pixel by pixel."""
    height, width = HEATMAP_HW
    reach, column, row = 3 * sigma, int(x + 0.5), int(y + 0.5)  # int() rounds towards 0
    at_x, at_y = (x, y) if codec == "dark" else (column, row)
    heatmap = np.zeros(HEATMAP_HW)
    if at_x - reach >= width or at_y - reach >= height or at_x + reach + 1 < 0 or at_y + reach + 1 < 0:
        return heatmap, 0.0
    centre = (column, row) if codec == "plain" else (x, y)
    for v in range(height):
        for u in range(width):
            if codec == "dark" or (abs(u - column) <= reach and abs(v - row) <= reach):
                heatmap[v, u] = np.exp(-((u - centre[0]) ** 2 + (v - centre[1]) ** 2) / (2 * sigma**2))
    return heatmap, 1.0


@pytest.mark.parametrize("codec", ["plain", "dark", "udp"])
def test_targets_around_the_crop_match_mmpose(codec):
    """The joints range from far left of and above the crop to far right of and below it."""
    sides = np.concatenate([np.arange(-9, -4, 0.25), np.arange(-2, 2, 0.25)]) + 0.1
    places = [(x, 30.1) for x in [*sides, *(45.2 - sides)]] + [(20.1, y) for y in [*sides, *(61.2 - sides)]]
    stride = np.array([191 / 47, 255 / 63]) if codec == "udp" else np.array([4.0, 4.0])
    points = jnp.asarray(np.array(places)[None] * stride, jnp.float32)
    heatmaps, weights = encode_heatmaps(points, jnp.ones((1, len(places))), INPUT_HW, HEATMAP_HW, SIGMA_PX, codec)
    for i, (x, y) in enumerate(places):
        expected, weight = _mmpose_target(x, y, codec)
        assert weights[0, i] == weight, (x, y)
        np.testing.assert_allclose(heatmaps[0, :, :, i], expected, atol=1e-5, err_msg=f"{x}, {y}")
    assert 0 < weights.sum() < len(places)


@pytest.mark.parametrize(("stride", "sigma"), [(4, 2.0), (8, 1.0)])
def test_targets_match_a_reference_loop(stride, sigma):
    hw = (INPUT_HW[0] // stride, INPUT_HW[1] // stride)
    points = np.random.default_rng(0).uniform(0, 1, (1, 6, 2)) * [191, 255]
    heatmaps, weights = _encode(points, heatmap_hw=hw)
    expected = np.stack([_loop_target(p, stride, sigma, hw) for p in points[0]], axis=-1)
    np.testing.assert_allclose(heatmaps[0], expected, atol=1e-6)
    np.testing.assert_array_equal(weights, 1)
    np.testing.assert_array_equal(heatmaps.max(axis=(1, 2)), 1)


def test_round_trip_rounds_to_heatmap_pixels():
    """The plain codec rounds targets to whole pixels: it errs by at most half a heatmap pixel, a quarter on average."""
    points = np.random.default_rng(0).uniform(0, 1, (40, 17, 2)) * [180, 244] + 6
    found, scores = decode_heatmaps(_encode(points)[0])
    np.testing.assert_array_equal(found, np.floor(points / 4 + 0.5))
    np.testing.assert_array_equal(scores, 1)
    error = np.abs(to_input_px(found, INPUT_HW, HEATMAP_HW) - points) / 4
    assert error.max() <= 0.5 and abs(error.mean() - 0.25) < 0.01


def test_plain_decoding_errs_at_most_a_quarter_pixel():
    """The quarter step halves the error on heatmaps whose peaks are not rounded, such as DARK's targets."""
    points = np.random.default_rng(0).uniform(0, 1, (40, 17, 2)) * [180, 244] + 6
    heatmaps, _ = encode_heatmaps(jnp.asarray(points), jnp.ones((40, 17)), INPUT_HW, HEATMAP_HW, SIGMA_PX, "dark")
    found, _ = decode_heatmaps(heatmaps, "plain")
    error = np.abs(to_input_px(found, INPUT_HW, HEATMAP_HW) - points) / 4
    assert 0.2 < error.max() <= 0.25 + 1e-4


def test_decoding_moves_a_quarter_towards_the_larger_neighbour():
    heatmaps = np.zeros((1, 8, 8, 3), np.float32)
    heatmaps[0, 4, 4], heatmaps[0, 4, 5], heatmaps[0, 3, 4] = 1.0, 0.5, 0.4
    heatmaps[0, :, :, 1] = np.roll(heatmaps[0, :, :, 1], -3, axis=1)  # its peak is at x = 1, where no step is taken
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
        ((-28.0, 50.0), 1.0, 1.0),  # heatmap column -6.5, which the originals round to -6
        ((-34.0, 50.0), 1.0, 0.0),
        ((192 + 20.0, 50.0), 1.0, 1.0),  # heatmap column 53, whose window begins at the last column, 47
        ((192 + 24.0, 50.0), 1.0, 0.0),
        ((50.0, 256 + 24.0), 1.0, 0.0),
    ],
)
def test_weights_are_zero_for_unseen_joints(point, visible, weight):
    heatmaps, weights = _encode([[point]], [[visible]])
    assert weights.item() == weight
    assert bool(heatmaps.any()) == bool(weight)


def test_the_flip_test_undoes_the_mirror():
    """Heatmaps of mirrored joints, flipped back, match those of the joints, except for the column shifted in."""
    indices = (1, 0, 2)
    # At a stride of 4, pixel x of the crop is 191 - x in its mirror image: (191 - x) / 4 = 47 - x / 4 + 3 / 4.
    points = np.array([[[64.0, 60.0], [100.0, 90.0], [120.0, 200.0]]])
    mirrored = points[:, indices] * [-1, 1] + [191, 0]
    heatmaps, _ = _encode(points)
    back = flip_heatmaps(_encode(mirrored)[0], indices)
    np.testing.assert_allclose(back[:, :, 1:], heatmaps[:, :, 1:], atol=1e-6)


@pytest.mark.parametrize("sigma", [1.5, 2.0, 3.0])
def test_dark_round_trip_has_subpixel_accuracy(sigma):
    points = np.random.default_rng(0).uniform(0, 1, (40, 17, 2)) * [120, 180] + 32
    heatmaps, weights = encode_heatmaps(
        jnp.asarray(points, jnp.float32), jnp.ones((40, 17)), INPUT_HW, HEATMAP_HW, 4 * sigma, "dark"
    )
    np.testing.assert_array_equal(weights, 1)
    found, _ = decode_heatmaps(heatmaps, "dark", sigma)
    assert np.abs(found - points / 4).max() < 0.05


def _mmpose_refine(heatmap: np.ndarray, codec: str) -> np.ndarray:
    """The peak of one heatmap as MMPose refines it: OpenCV's blur and an explicit Hessian, in float64."""
    height, width = heatmap.shape
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    padded = cv2.GaussianBlur(np.pad(heatmap, 5), (11, 11), 0)[5:-5, 5:-5]
    blurred = padded * heatmap.max() / padded.max()
    if codec == "dark":
        f = np.log(np.maximum(blurred, 1e-10))
        if not (1 < x < width - 2 and 1 < y < height - 2):
            return np.array([x, y])
        second = lambda a, b: (f[y + 2 * b, x + 2 * a] - 2 * f[y, x] + f[y - 2 * b, x - 2 * a]) / 4  # noqa: E731
        cross = (f[y + 1, x + 1] - f[y - 1, x + 1] - f[y + 1, x - 1] + f[y - 1, x - 1]) / 4
    else:
        f = np.pad(np.log(np.clip(blurred, 1e-3, 50.0)), 1, mode="edge")
        x, y = x + 1, y + 1
        second = lambda a, b: f[y + b, x + a] - 2 * f[y, x] + f[y - b, x - a]  # noqa: E731
        cross = 0.5 * (
            (f[y + 1, x + 1] - f[y, x + 1] - f[y + 1, x] + f[y, x])
            + (f[y, x] - f[y, x - 1] - f[y - 1, x] + f[y - 1, x - 1])
        )
    gradient = np.array([f[y, x + 1] - f[y, x - 1], f[y + 1, x] - f[y - 1, x]]) / 2
    hessian = np.array([[second(1, 0), cross], [cross, second(0, 1)]])
    offset = -np.linalg.solve(hessian, gradient) if abs(np.linalg.det(hessian)) > 1e-12 else np.zeros(2)
    return np.array([x, y]) - (codec == "udp") + offset


@pytest.mark.parametrize("codec", ["dark", "udp"])
def test_refinement_matches_mmpose_on_uneven_heatmaps(codec):
    """Sums of two Gaussians of different widths, at the edges too: one Newton step is not exact for any of them."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :48]
    heatmaps = np.zeros((1, 64, 48, 100), np.float32)
    for j in range(100):
        x, y = rng.uniform(-1, 1, 2) + rng.uniform(0, 1, 2) * [47, 63]
        for dx, dy, height in ((0, 0, 1.0), (*rng.uniform(-4, 4, 2), rng.uniform(0.1, 0.6))):
            sigma = rng.uniform(1.5, 3)
            heatmaps[0, :, :, j] += height * np.exp(-((columns - x - dx) ** 2 + (rows - y - dy) ** 2) / 2 / sigma**2)
    found, _ = decode_heatmaps(jnp.asarray(heatmaps), codec, 2.0)
    expected = np.stack([_mmpose_refine(heatmaps[0, :, :, j].astype(np.float64), codec) for j in range(100)])
    np.testing.assert_allclose(found[0], expected, atol=2e-3)


def test_udp_round_trip_has_subpixel_accuracy():
    points = np.random.default_rng(0).uniform(0, 1, (40, 17, 2)) * [150, 210] + 20
    visible = jnp.ones((40, 17))
    heatmaps, _ = encode_heatmaps(jnp.asarray(points, jnp.float32), visible, INPUT_HW, HEATMAP_HW, SIGMA_PX, "udp")
    found, _ = decode_heatmaps(heatmaps, "udp", 2.0)
    assert np.abs(to_input_px(found, INPUT_HW, HEATMAP_HW, "udp") - points).max() / 4 < 0.1


def test_udp_needs_no_shift_in_the_flip_test():
    indices = (1, 0, 2)
    points = np.array([[[64.3, 60.0], [100.0, 90.7], [120.0, 200.0]]])
    mirrored = points[:, indices] * [-1, 1] + [191, 0]
    straight, turned = (
        encode_heatmaps(jnp.asarray(p, jnp.float32), jnp.ones((1, 3)), INPUT_HW, HEATMAP_HW, SIGMA_PX, "udp")[0]
        for p in (points, mirrored)
    )
    np.testing.assert_allclose(flip_heatmaps(turned, indices, "udp"), straight, atol=1e-4)


def test_dark_stays_at_the_peak_of_flat_heatmaps():
    heatmaps = jnp.zeros((1, 16, 12, 2)).at[0, :, :, 1].set(0.5)
    points, scores = decode_heatmaps(heatmaps, "dark")
    np.testing.assert_array_equal(points, 0)
    np.testing.assert_array_equal(scores, [[0, 0.5]])


@pytest.mark.parametrize("codec", ["plain", "dark", "udp"])
def test_numpy_heatmaps_are_decoded_as_in_jax(codec):
    points = np.random.default_rng(0).uniform(0, 1, (4, 17, 2)) * [191, 255]
    heatmaps = encode_heatmaps(jnp.asarray(points), jnp.ones((4, 17)), INPUT_HW, HEATMAP_HW, SIGMA_PX, codec)[0]
    heatmaps += np.random.default_rng(1).normal(0, 0.01, heatmaps.shape)
    turns = tuple(range(16, -1, -1))
    for maps in (heatmaps, flip_heatmaps(heatmaps, turns, codec)):
        expected = decode_heatmaps(maps, codec)
        found = decode_heatmaps(np.asarray(maps), codec)
        assert all(isinstance(array, np.ndarray) for array in found)
        np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
        np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(flip_heatmaps(np.asarray(heatmaps), turns, codec), maps)
