"""Keypoints to heatmaps and back, on the device (MamKPD sec. 3.1; SimpleBaseline, arXiv 1804.06208).

Coordinates are (x, y) in pixels, pixel centres at integers. Three codecs: "plain" (SimpleBaseline), "dark" (DARK, arXiv
1910.06278) and "udp" (UDP, arXiv 1911.07524), which measures sizes from the first pixel's centre to the last one's.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def encode_heatmaps(
    keypoints_px: Float[Array, "b j 2"],
    visible: Float[Array, "b j"],
    input_hw: tuple[int, int],
    heatmap_hw: tuple[int, int],
    sigma_px: float,
    codec: str = "plain",
) -> tuple[Float[Array, "b h w j"], Float[Array, "b j"]]:
    """Training targets: for each joint an unnormalised Gaussian.

    Args:
        keypoints_px: in pixels of the crop.
        visible: above 0 where the joint is labelled.
        sigma_px: of the Gaussian, in pixels of the crop.
        codec: "plain" centres it on a heatmap pixel and cuts it off at three sigma; "dark" does neither; "udp" cuts.

    Returns:
        Heatmaps, and weights: 0 where the joint is unlabelled or farther outside than three sigma, else 1. Left of and
        above the heatmap this limit is one pixel farther, so a target that is cut off can be empty.

    Source: SimpleBaseline's target generation; DARK, sec. 3.2; UDP; all as in MMPose 1.x.
    """
    height, width = heatmap_hw
    sigma = sigma_px * width / input_hw[1]
    exact = keypoints_px / jnp.array(_stride(input_hw, heatmap_hw, codec))
    pixel = jnp.trunc(exact + 0.5)  # rounds towards 0 left of the heatmap, as the originals' int() does
    centre = pixel if codec == "plain" else exact

    def profile(size: int, axis: int) -> Array:
        inside = jnp.abs(jnp.arange(size) - pixel[..., axis, None]) <= 3 * sigma
        values = jnp.exp(-jnp.square(jnp.arange(size) - centre[..., axis, None]) / (2 * sigma**2))
        return values if codec == "dark" else jnp.where(inside, values, 0.0)

    heatmaps = jnp.einsum("bjh,bjw->bhwj", profile(height, 1), profile(width, 0))
    place = exact if codec == "dark" else pixel
    near = (place >= -3 * sigma - 1) & (place < jnp.array([width, height]) + 3 * sigma)
    weights = jnp.where((visible > 0) & near.all(axis=-1), 1.0, 0.0)
    return heatmaps * weights[:, None, None, :], weights


def decode_heatmaps(
    heatmaps: Float[Array, "b h w j"], codec: str = "plain", sigma: float = 2.0
) -> tuple[Float[Array, "b j 2"], Float[Array, "b j"]]:
    """Joints in heatmap pixels, and their scores: the peak's place, refined below a pixel, and its height.

    Args:
        codec: "plain" moves the peak by a quarter of a pixel towards its larger neighbour; "dark" and "udp" by one
            Newton step on the logarithm of the blurred heatmap. "plain" and "dark" do not at the heatmap's edge.
        sigma: of the targets, in heatmap pixels; the blur is chosen accordingly.

    Source: SimpleBaseline's decoding; DARK, sec. 3.1; UDP as in MMPose.
    """
    b, height, width, j = heatmaps.shape
    flat = heatmaps.reshape(b, height * width, j)
    index = jnp.argmax(flat, axis=1)
    x, y = index % width, index // width
    surface = heatmaps if codec == "plain" else jnp.log(jnp.clip(_blur(heatmaps, sigma), *_LIMITS[codec]))

    def value(dx: int, dy: int) -> Array:
        near = jnp.clip(y + dy, 0, height - 1) * width + jnp.clip(x + dx, 0, width - 1)
        return jnp.take_along_axis(surface.reshape(flat.shape), near[:, None, :], axis=1)[:, 0]

    offset = {"plain": _quarter, "dark": _dark_step, "udp": _udp_step}[codec](value)
    if codec != "udp":
        reach = 1 if codec == "plain" else 2
        inner = (x > 1) & (x < width - reach) & (y > 1) & (y < height - reach)
        offset = jnp.where(inner[..., None], offset, 0.0)
    return jnp.stack([x, y], axis=-1) + offset, jnp.max(flat, axis=1)


# Between them the logarithm is taken. Source: the two papers' code, as in MMPose.
_LIMITS = {"dark": (1e-10, None), "udp": (1e-3, 50.0)}


def _quarter(value: Callable[[int, int], Array]) -> Float[Array, "b j 2"]:
    slope = jnp.stack([value(1, 0) - value(-1, 0), value(0, 1) - value(0, -1)], axis=-1)
    return 0.25 * jnp.sign(slope)


def _dark_step(value: Callable[[int, int], Array]) -> Float[Array, "b j 2"]:
    gradient = (value(1, 0) - value(-1, 0)) / 2, (value(0, 1) - value(0, -1)) / 2
    dxx = (value(2, 0) - 2 * value(0, 0) + value(-2, 0)) / 4
    dyy = (value(0, 2) - 2 * value(0, 0) + value(0, -2)) / 4
    dxy = (value(1, 1) - value(-1, 1) - value(1, -1) + value(-1, -1)) / 4
    return _newton(*gradient, dxx, dxy, dyy)


def _udp_step(value: Callable[[int, int], Array]) -> Float[Array, "b j 2"]:
    gradient = (value(1, 0) - value(-1, 0)) / 2, (value(0, 1) - value(0, -1)) / 2
    middle = value(0, 0)
    dxx = value(1, 0) - 2 * middle + value(-1, 0)
    dyy = value(0, 1) - 2 * middle + value(0, -1)
    cross = value(1, 0) + value(0, 1) + value(-1, 0) + value(0, -1)
    dxy = (value(1, 1) + value(-1, -1) + 2 * middle - cross) / 2
    return _newton(*gradient, dxx, dxy, dyy)


def _newton(dx: Array, dy: Array, dxx: Array, dxy: Array, dyy: Array) -> Float[Array, "b j 2"]:
    """The step to the top of a parabola with these derivatives, 0 where it is none."""
    determinant = dxx * dyy - dxy**2
    step = jnp.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=-1)
    return jnp.where(determinant[..., None] != 0, step / jnp.where(determinant == 0, 1, determinant)[..., None], 0.0)


def _blur(heatmaps: Float[Array, "b h w j"], sigma: float) -> Float[Array, "b h w j"]:
    """A Gaussian blur, zeros outside, that keeps each heatmap's maximum.

    Source: DARK's, of 11 pixels for a sigma of 2 and 17 for 3.
    Choice: in between and below, 2.5 sigma to each side; OpenCV's rule gives the blur's own sigma.
    """
    reach = round(2.5 * sigma)
    blur_sigma = 0.3 * (reach - 1) + 0.8

    def band(size: int) -> Array:
        distance = jnp.abs(jnp.arange(size) - jnp.arange(size)[:, None])
        return jnp.where(distance <= reach, jnp.exp(-jnp.square(distance) / (2 * blur_sigma**2)), 0.0)

    _, height, width, _ = heatmaps.shape
    # In full precision, as a logarithm follows: a GPU would round the factors to 10 bits.
    blurred = jnp.einsum("bhwj,yh,xw->byxj", heatmaps, band(height), band(width), precision="highest")
    before, after = (jnp.max(maps, axis=(1, 2), keepdims=True) for maps in (heatmaps, blurred))
    return blurred * jnp.where(after > 0, before / jnp.where(after > 0, after, 1.0), 1.0)


def flip_heatmaps(
    heatmaps: Float[Array, "b h w j"], flip_indices: tuple[int, ...], codec: str = "plain"
) -> Float[Array, "b h w j"]:
    """Heatmaps of a mirrored crop as those of the crop.

    But for "udp" they are moved right by a pixel, since the mirror image of a strided grid falls on the next pixel: the
    flip test of SimpleBaseline and HRNet.
    """
    mirrored = heatmaps[:, :, ::-1][..., jnp.array(flip_indices)]
    return mirrored if codec == "udp" else jnp.concatenate([mirrored[:, :, :1], mirrored[:, :, :-1]], axis=2)


def to_input_px(
    points: Float[Array, "b j 2"], input_hw: tuple[int, int], heatmap_hw: tuple[int, int], codec: str = "plain"
) -> Float[Array, "b j 2"]:
    """Points in heatmap pixels to pixels of the crop."""
    return points * jnp.array(_stride(input_hw, heatmap_hw, codec))


def _stride(input_hw: tuple[int, int], heatmap_hw: tuple[int, int], codec: str) -> tuple[float, float]:
    """Crop pixels for a heatmap pixel, in x and in y."""
    less = 1 if codec == "udp" else 0
    return (input_hw[1] - less) / (heatmap_hw[1] - less), (input_hw[0] - less) / (heatmap_hw[0] - less)
