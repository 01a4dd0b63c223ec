"""Encodes keypoints as heatmaps and decodes them (MamKPD sec. 3.1; SimpleBaseline, arXiv 1804.06208).

JAX arrays are decoded on their device, NumPy arrays without JAX. Coordinates are (x, y) in pixels, with pixel centres
at integers. There are three codecs: "plain" (SimpleBaseline), "dark" (DARK, arXiv 1910.06278) and "udp" (UDP, arXiv
1911.07524), which measures sizes from the first pixel's centre to the last one's.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

AnyArray = Array | np.ndarray


def encode_heatmaps(
    keypoints_px: Float[Array, "b j 2"],
    visible: Float[Array, "b j"],
    input_hw: tuple[int, int],
    heatmap_hw: tuple[int, int],
    sigma_px: float,
    codec: str = "plain",
) -> tuple[Float[Array, "b h w j"], Float[Array, "b j"]]:
    """Training targets: an unnormalised Gaussian for each joint.

    Args:
        keypoints_px: in pixels of the crop.
        visible: above 0 where the joint is labelled.
        sigma_px: of the Gaussian, in pixels of the crop.
        codec: "plain" rounds the centre to a heatmap pixel and truncates the Gaussian at three sigma; "dark" does
            neither; "udp" only truncates.

    Returns:
        Heatmaps, and weights: 0 where the joint is unlabelled or more than three sigma outside the heatmap, else 1. At
        the left and the top edge this limit is one pixel more, so a truncated target can be empty.

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
    heatmaps: Float[AnyArray, "b h w j"], codec: str = "plain", sigma: float = 2.0
) -> tuple[Float[AnyArray, "b j 2"], Float[AnyArray, "b j"]]:
    """Joints in heatmap pixels, and their scores: each heatmap's peak, refined to subpixels, and its value.

    Args:
        codec: "plain" moves the peak by a quarter of a pixel towards its larger neighbour; "dark" and "udp" by one
            Newton step on the logarithm of the blurred heatmap. "plain" and "dark" don't refine at the heatmap's edge.
        sigma: of the targets, in heatmap pixels; it determines the blur.

    Source: SimpleBaseline's decoding; DARK, sec. 3.1; UDP as in MMPose.
    """
    xp: Any = heatmaps.__array_namespace__()
    b, height, width, j = heatmaps.shape
    flat = heatmaps.reshape(b, height * width, j)
    index = xp.argmax(flat, axis=1)
    x, y = index % width, index // width
    surface = heatmaps if codec == "plain" else xp.log(xp.clip(_blur(heatmaps, sigma), *_LIMITS[codec]))

    def value(dx: int, dy: int) -> Any:
        near = xp.clip(y + dy, 0, height - 1) * width + xp.clip(x + dx, 0, width - 1)
        return xp.take_along_axis(surface.reshape(flat.shape), near[:, None, :], axis=1)[:, 0]

    offset = {"plain": _quarter, "dark": _dark_step, "udp": _udp_step}[codec](value)
    if codec != "udp":
        reach = 1 if codec == "plain" else 2
        inner = (x > 1) & (x < width - reach) & (y > 1) & (y < height - reach)
        offset = xp.where(inner[..., None], offset, 0.0)
    return xp.stack([x, y], axis=-1) + offset, xp.max(flat, axis=1)


# Heatmaps are clipped to these limits before the logarithm. Source: the two papers' code, as in MMPose.
_LIMITS = {"dark": (1e-10, None), "udp": (1e-3, 50.0)}


def _quarter(value: Callable[[int, int], Any]) -> Float[AnyArray, "b j 2"]:
    x, y = value(1, 0) - value(-1, 0), value(0, 1) - value(0, -1)
    xp = x.__array_namespace__()
    return 0.25 * xp.sign(xp.stack([x, y], axis=-1))


def _dark_step(value: Callable[[int, int], Any]) -> Float[AnyArray, "b j 2"]:
    gradient = (value(1, 0) - value(-1, 0)) / 2, (value(0, 1) - value(0, -1)) / 2
    dxx = (value(2, 0) - 2 * value(0, 0) + value(-2, 0)) / 4
    dyy = (value(0, 2) - 2 * value(0, 0) + value(0, -2)) / 4
    dxy = (value(1, 1) - value(-1, 1) - value(1, -1) + value(-1, -1)) / 4
    return _newton(*gradient, dxx, dxy, dyy)


def _udp_step(value: Callable[[int, int], Any]) -> Float[AnyArray, "b j 2"]:
    gradient = (value(1, 0) - value(-1, 0)) / 2, (value(0, 1) - value(0, -1)) / 2
    middle = value(0, 0)
    dxx = value(1, 0) - 2 * middle + value(-1, 0)
    dyy = value(0, 1) - 2 * middle + value(0, -1)
    cross = value(1, 0) + value(0, 1) + value(-1, 0) + value(0, -1)
    dxy = (value(1, 1) + value(-1, -1) + 2 * middle - cross) / 2
    return _newton(*gradient, dxx, dxy, dyy)


def _newton(dx: Any, dy: Any, dxx: Any, dxy: Any, dyy: Any) -> Float[AnyArray, "b j 2"]:
    """The Newton step to the extremum of a quadratic with these derivatives; 0 if the Hessian is singular."""
    xp = dx.__array_namespace__()
    determinant = dxx * dyy - dxy**2
    step = xp.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=-1)
    return xp.where(determinant[..., None] != 0, step / xp.where(determinant == 0, 1, determinant)[..., None], 0.0)


def _blur(heatmaps: Float[AnyArray, "b h w j"], sigma: float) -> Float[AnyArray, "b h w j"]:
    """The heatmaps blurred by a Gaussian with zero padding, each rescaled to its former maximum.

    Source: DARK, with 11 pixels for a sigma of 2 and 17 for 3.
    Choice: for every other sigma, 2.5 sigma to each side; OpenCV's rule then gives the sigma of the blur.
    """
    xp: Any = heatmaps.__array_namespace__()
    reach = round(2.5 * sigma)
    blur_sigma = 0.3 * (reach - 1) + 0.8

    def band(size: int) -> Any:
        distance = xp.abs(xp.arange(size) - xp.arange(size)[:, None])
        return xp.where(distance <= reach, xp.exp(-xp.square(distance) / (2 * blur_sigma**2)), 0.0)

    _, height, width, _ = heatmaps.shape
    # Full precision, because a logarithm follows and a GPU would round the factors to 10 bits. NumPy is always precise,
    # but without "optimize" it sums over both axes at once, which is slow.
    how = {"optimize": True} if xp is np else {"precision": "highest"}
    blurred = xp.einsum("bhwj,yh,xw->byxj", heatmaps, band(height), band(width), **how)
    before, after = (xp.max(maps, axis=(1, 2), keepdims=True) for maps in (heatmaps, blurred))
    return blurred * xp.where(after > 0, before / xp.where(after > 0, after, 1.0), 1.0)


def flip_heatmaps(
    heatmaps: Float[AnyArray, "b h w j"], flip_indices: tuple[int, ...], codec: str = "plain"
) -> Float[AnyArray, "b h w j"]:
    """The heatmaps of a mirrored crop, mirrored back so that they match those of the crop.

    Except for "udp" they are shifted right by a pixel, because a strided grid is mirrored onto the next pixel. Source:
    the flip test of SimpleBaseline and HRNet.
    """
    xp: Any = heatmaps.__array_namespace__()
    mirrored = heatmaps[:, :, ::-1][..., xp.array(flip_indices)]
    return mirrored if codec == "udp" else xp.concatenate([mirrored[:, :, :1], mirrored[:, :, :-1]], axis=2)


def to_input_px(
    points: Float[AnyArray, "b j 2"], input_hw: tuple[int, int], heatmap_hw: tuple[int, int], codec: str = "plain"
) -> Float[AnyArray, "b j 2"]:
    """Points in pixels of the crop, from points in heatmap pixels."""
    return points * points.__array_namespace__().array(_stride(input_hw, heatmap_hw, codec))


def _stride(input_hw: tuple[int, int], heatmap_hw: tuple[int, int], codec: str) -> tuple[float, float]:
    """The size of a heatmap pixel in pixels of the crop, in x and in y."""
    less = 1 if codec == "udp" else 0
    return (input_hw[1] - less) / (heatmap_hw[1] - less), (input_hw[0] - less) / (heatmap_hw[0] - less)
