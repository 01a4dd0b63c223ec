"""Keypoints to heatmaps and back, on the device (MamKPD sec. 3.1; SimpleBaseline, arXiv 1804.06208).

Coordinates are (x, y) in pixels, pixel centres at integers.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def encode_heatmaps(
    keypoints_px: Float[Array, "b j 2"],
    visible: Float[Array, "b j"],
    input_hw: tuple[int, int],
    heatmap_hw: tuple[int, int],
    sigma_px: float,
) -> tuple[Float[Array, "b h w j"], Float[Array, "b j"]]:
    """Training targets: for each joint an unnormalised Gaussian with peak 1, cut off at three sigma.

    Args:
        keypoints_px: in pixels of the crop.
        visible: above 0 where the joint is labelled.
        sigma_px: of the Gaussian, in pixels of the crop.

    Returns:
        Heatmaps, and weights: 0 where the joint is unlabelled or its window lies outside the heatmap, else 1.

    Source: SimpleBaseline's target generation: the centre is rounded to a heatmap pixel.
    """
    height, width = heatmap_hw
    stride = jnp.array([input_hw[1] / width, input_hw[0] / height])
    sigma = sigma_px * width / input_hw[1]
    # Choice: floor, where the reference truncates towards 0; the two differ left of the crop by half a pixel only.
    centre = jnp.floor(keypoints_px / stride + 0.5)
    radius = 3 * sigma

    def profile(size: int, centre: Array) -> Array:
        distance = jnp.arange(size) - centre[..., None]
        inside = jnp.abs(distance) <= radius
        return jnp.where(inside, jnp.exp(-jnp.square(distance) / (2 * sigma**2)), 0.0)

    columns, rows = profile(width, centre[..., 0]), profile(height, centre[..., 1])
    heatmaps = jnp.einsum("bjh,bjw->bhwj", rows, columns)
    # The window reaches the heatmap if either of its profiles has a pixel on it: both must.
    reached = jnp.any(columns > 0, axis=-1) & jnp.any(rows > 0, axis=-1)
    weights = jnp.where((visible > 0) & reached, 1.0, 0.0)
    return heatmaps * weights[:, None, None, :], weights


def decode_heatmaps(heatmaps: Float[Array, "b h w j"]) -> tuple[Float[Array, "b j 2"], Float[Array, "b j"]]:
    """Joints in heatmap pixels, and their scores: the peak, a quarter of a pixel towards its larger neighbour.

    Source: SimpleBaseline's decoding. The quarter is left out at the heatmap's edge.
    """
    b, height, width, j = heatmaps.shape
    flat = heatmaps.reshape(b, height * width, j)
    index = jnp.argmax(flat, axis=1)
    scores = jnp.max(flat, axis=1)
    x, y = index % width, index // width

    def value(dx: int, dy: int) -> Array:
        near = jnp.clip(y + dy, 0, height - 1) * width + jnp.clip(x + dx, 0, width - 1)
        return jnp.take_along_axis(flat, near[:, None, :], axis=1)[:, 0]

    inner = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    slope = jnp.stack([value(1, 0) - value(-1, 0), value(0, 1) - value(0, -1)], axis=-1)
    quarter = jnp.where(inner[..., None], 0.25 * jnp.sign(slope), 0.0)
    return jnp.stack([x, y], axis=-1) + quarter, scores


def flip_heatmaps(heatmaps: Float[Array, "b h w j"], flip_indices: tuple[int, ...]) -> Float[Array, "b h w j"]:
    """Heatmaps of a mirrored crop as those of the crop.

    They are moved right by a pixel, since the mirror image of a strided grid falls on the next pixel: the flip test
    of SimpleBaseline and HRNet.
    """
    mirrored = heatmaps[:, :, ::-1][..., jnp.array(flip_indices)]
    return jnp.concatenate([mirrored[:, :, :1], mirrored[:, :, :-1]], axis=2)


def to_input_px(
    points: Float[Array, "b j 2"], input_hw: tuple[int, int], heatmap_hw: tuple[int, int]
) -> Float[Array, "b j 2"]:
    """Points in heatmap pixels to pixels of the crop."""
    return points * jnp.array([input_hw[1] / heatmap_hw[1], input_hw[0] / heatmap_hw[0]])
