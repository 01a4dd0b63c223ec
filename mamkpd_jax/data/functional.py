"""The geometry of top-down crops, as pure functions of numpy arrays.

Coordinates are (x, y) in pixels, pixel centres at integers; boxes are x, y, width, height; sizes `*_hw` are (height,
width). Source of the conventions: SimpleBaseline, arXiv 1804.06208, and MMPose 1.x.
"""

import os

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

_MAX_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])  # mamkpd_jax/__init__.py sets it
_MAX_SAMPLES = 8  # along each side of a crop's pixel
BODY_AREA = 0.53  # Choice: the fraction of a box that the body covers, for labels without areas


class DamagedImage(ValueError):
    """The bytes can't be decoded as an image."""


def decode_image(data: bytes, *, upright: bool = False) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes an image file to 8-bit RGB. Gray is repeated, alpha dropped, and 16-bit values keep their upper 8 bits.

    Choice: it decodes at full size, even for a crop of half the size. Decoding a JPEG at half size saves only a seventh
    of the time, and would give training smoother crops than evaluation.

    Args:
        upright: apply the rotation in the file's EXIF data.

    Raises:
        DamagedImage: the bytes can't be decoded, or the image has more pixels than the limit.
    """
    if _lacks_end_marker(data):
        raise DamagedImage(f"a truncated image ({len(data)} bytes, without an end marker); copy it again")
    flags = cv2.IMREAD_COLOR_RGB | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:  # OpenCV refuses a too large size in the header before it decodes
        raise _too_large() from error
    if image is None:
        raise DamagedImage(f"{len(data)} bytes that are not an image")
    check_size(*image.shape[:2])
    return image


def check_size(height: int, width: int) -> None:
    """Raises DamagedImage if an image has more pixels than the limit."""
    if height * width > _MAX_PIXELS:
        raise _too_large()


def _lacks_end_marker(data: bytes) -> bool:
    """Whether a JPEG or PNG file has no end marker after its pixels, as an interrupted copy that is padded with zeros.

    libjpeg would decode the zeros as pixels. The search starts at the pixels, because thumbnails before them have end
    markers too. It accepts a marker anywhere after them, because phones append videos.
    """
    if data[:4] == b"\x89PNG":
        return b"IEND" not in data
    at = 2
    while data[:2] == b"\xff\xd8" and data[at : at + 1] == b"\xff":
        if data[at + 1 : at + 2] == b"\xda":  # the pixels begin, which can't contain the end marker
            return data.find(b"\xff\xd9", at) < 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")  # the next segment
    return False


def _too_large() -> DamagedImage:
    return DamagedImage(f"an image of more than {_MAX_PIXELS / 1e6:.0f} million pixels; make it smaller")


def clip_box(box: Float[np.ndarray, "4"], height: int, width: int) -> Float[np.ndarray, "4"]:
    """A ground-truth box clipped to its image, where it ends at the last pixel at most. Outside, its size is 0."""
    corners = np.clip([box[:2], box[:2] + box[2:]], 0.0, [width - 1.0, height - 1.0])
    return np.concatenate([corners[0], corners[1] - corners[0]])


def box_around(joints: Float[np.ndarray, "labelled 2"]) -> Float[np.ndarray, "4"]:
    """The box (x, y, width, height) around an instance's joints, for labels without boxes.

    Choice: the margin on each side is 4 pixels plus 6% of the longer side, because joints are inside the body.
    """
    low, size = joints.min(axis=0), np.ptp(joints, axis=0)
    margin = 4 + 0.06 * size.max()
    return np.concatenate([low - margin, size + 2 * margin])


def grow_to_aspect(size: Float[np.ndarray, "2"], output_hw: tuple[int, int]) -> Float[np.ndarray, "2"]:
    """The smallest size (width, height) that contains `size` and has the output's aspect ratio."""
    aspect = output_hw[1] / output_hw[0]
    return np.maximum(size, [size[1] * aspect, size[0] / aspect])


def crop_matrix(
    centre: Float[np.ndarray, "2"],
    size: Float[np.ndarray, "2"],
    rotation_deg: float,
    output_hw: tuple[int, int],
    *,
    udp: bool = False,
) -> Float[np.ndarray, "2 3"]:
    """The affine map from the image to a crop.

    Args:
        centre: the point of the image that becomes the crop's centre.
        size: width and height of the crop in pixels of the image.
        rotation_deg: rotation about the centre.
        output_hw: height and width of the crop in its pixels.
        udp: measure the crop from the centre of its first pixel to that of its last. Source: UDP, arXiv 1911.07524.
    """
    radians = np.deg2rad(rotation_deg)
    extent = np.array([output_hw[1], output_hw[0]]) - float(udp)
    cos, sin = np.cos(radians), np.sin(radians)
    linear = (extent / size)[:, None] * np.array([[cos, sin], [-sin, cos]])
    return np.column_stack([linear, extent / 2 - linear @ centre])


def invert(matrix: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """The inverse affine map."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def warp_points(points: Float[np.ndarray, "*n 2"], matrix: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "*n 2"]:
    """Maps points through an affine map."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def from_crops(
    points: Float[np.ndarray, "b j 2"],
    matrices: Float[np.ndarray, "b 2 3"],
    input_hw: tuple[int, int],
    *,
    udp: bool = False,
) -> tuple[Float[np.ndarray, "b j 2"], Float[np.ndarray, " b"]]:
    """Maps points from crops back to their images.

    Args:
        points: in pixels of the crops.
        matrices: the maps from the images to the crops.
        input_hw: height and width of the crops.
        udp: as in `crop_matrix`.

    Returns:
        The points in pixels of the images, and the areas that the crops cover there.
    """
    inverses = [invert(matrix) for matrix in matrices]
    areas_px = np.prod(np.array(input_hw) - float(udp)) / np.linalg.det(matrices[:, :, :2])
    in_images = [warp_points(p, m) for p, m in zip(points, inverses, strict=True)]
    return np.array(in_images, np.float64).reshape(points.shape), areas_px


def warp_image(
    image: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "2 3"], output_hw: tuple[int, int]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Maps an image through an affine map, with bilinear interpolation. Pixels from outside the image are black.

    Choice: an image that shrinks by about n gets n x n samples per pixel, at most 8 x 8, and their mean. MMPose and
    HRNet take one sample, which leaves out most of a large image: if a box moves by half a pixel, some keypoints jump.
    """
    (a, b, _), (c, d, _) = matrix
    n = int(np.clip(np.rint(1 / np.sqrt(a * d - b * c)), 1, _MAX_SAMPLES))
    samples_hw = n * output_hw[0], n * output_hw[1]
    samples = cv2.warpAffine(image, n * matrix + [0, 0, (n - 1) / 2], samples_hw[::-1], flags=cv2.INTER_LINEAR)
    return cv2.resize(samples, output_hw[::-1], interpolation=cv2.INTER_AREA)


def flip_points(
    points: Shaped[np.ndarray, "j c"], width: int, flip_indices: tuple[int, ...]
) -> Shaped[np.ndarray, "j c"]:
    """The joints (x, y, ...) of the mirror image: x is mirrored, and left and right joints are exchanged."""
    flipped = points[list(flip_indices)]
    flipped[:, 0] = width - 1 - flipped[:, 0]
    return flipped


def erase(
    image: UInt8[np.ndarray, "h w 3"], share: float, aspect: float, corner: Float[np.ndarray, "2"], fill: np.ndarray
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of the image with a rectangle in the colour `fill`. Source: random erasing, arXiv 1708.04896.

    Args:
        share: the rectangle's fraction of the image's area.
        aspect: its height divided by its width.
        corner: its place (x, y): 0 is the left or upper end of the image, 1 the right or lower end.
    """
    h, w = image.shape[:2]
    height, width = (min(side, round(np.sqrt(share * h * w * ratio))) for side, ratio in ((h, aspect), (w, 1 / aspect)))
    left, top = (int(at * (room + 1)) for at, room in zip(corner, (w - width, h - height), strict=True))
    image = image.copy()
    image[top : top + height, left : left + width] = fill
    return image
