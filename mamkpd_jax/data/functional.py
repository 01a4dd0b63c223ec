"""The geometry of top-down crops, as pure functions of numpy arrays.

Coordinates are (x, y) in pixels, pixel centres at integers; boxes are x, y, width, height; sizes `*_hw` are (height,
width). Source of the conventions: SimpleBaseline, arXiv 1804.06208, and MMPose 1.x.
"""

import os

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

_MAX_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])  # set when the package is imported
BODY_AREA = 0.53  # Choice: the part of a box that its body covers, for labels without areas


class DamagedImage(ValueError):
    """Bytes that are no image that can be decoded."""


def decode_image(data: bytes, *, upright: bool = False) -> UInt8[np.ndarray, "h w 3"]:
    """Image bytes to RGB of 8 bits: gray is repeated, alpha is left out, and 16 bits become their upper 8.

    Choice: decoded whole, though a crop of half the size needs less: a JPEG decoded by halves takes six sevenths of the
    time, and would give smoother crops to training than evaluation gets.

    Args:
        upright: apply the rotation that is noted in the file's EXIF data.

    Raises:
        DamagedImage: they can't be decoded, or to more pixels than the limit.
    """
    if _lacks_its_end(data):
        raise DamagedImage(f"a picture that is cut off ({len(data)} bytes, without an end marker); copy it again")
    flags = cv2.IMREAD_COLOR_RGB | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:  # raised for the size in the file's header, before anything is decoded
        raise _too_large() from error
    if image is None:
        raise DamagedImage(f"{len(data)} bytes that are no image")
    check_size(*image.shape[:2])
    return image


def check_size(height: int, width: int) -> None:
    """Raises DamagedImage if an image has more pixels than the limit."""
    if height * width > _MAX_PIXELS:
        raise _too_large()


def _lacks_its_end(data: bytes) -> bool:
    """Whether a JPEG or PNG file has no end marker after its pixels, as after an interrupted copy padded with zeros.

    libjpeg takes the zeros for pixels. The search starts at the pixels, because thumbnails before them have end markers
    too, and does not stop at the end of the file, because phones append videos.
    """
    if data[:4] == b"\x89PNG":
        return b"IEND" not in data
    at = 2
    while data[:2] == b"\xff\xd8" and data[at : at + 1] == b"\xff":
        if data[at + 1 : at + 2] == b"\xda":  # the pixels begin; in them the end marker can't occur
            return data.find(b"\xff\xd9", at) < 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")  # a segment
    return False


def _too_large() -> DamagedImage:
    return DamagedImage(f"an image of more than {_MAX_PIXELS / 1e6:.0f} million pixels; make it smaller")


def clip_box(box: Float[np.ndarray, "4"], height: int, width: int) -> Float[np.ndarray, "4"]:
    """The part of a ground-truth box inside its image, where the last pixel ends it; of no size if it is outside."""
    corners = np.clip([box[:2], box[:2] + box[2:]], 0.0, [width - 1.0, height - 1.0])
    return np.concatenate([corners[0], corners[1] - corners[0]])


def box_around(joints: Float[np.ndarray, "labelled 2"]) -> Float[np.ndarray, "4"]:
    """The box (x, y, width, height) around an instance's joints, for labels without boxes.

    Choice: the margin on each side is 4 pixels and 6% of the longer side, because joints lie inside the body.
    """
    low, size = joints.min(axis=0), np.ptp(joints, axis=0)
    margin = 4 + 0.06 * size.max()
    return np.concatenate([low - margin, size + 2 * margin])


def grow_to_aspect(size: Float[np.ndarray, "2"], output_hw: tuple[int, int]) -> Float[np.ndarray, "2"]:
    """A size (width, height) grown on one side to the output's aspect."""
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
    """The affine map from the image to the crop: the centre to the middle, scaled to the size, rotated about it.

    With `udp` the crop is measured from its first pixel's centre to its last one's. Source: UDP, arXiv 1911.07524.
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
    """Points through an affine map."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def from_crops(
    points: Float[np.ndarray, "b j 2"],
    matrices: Float[np.ndarray, "b 2 3"],
    input_hw: tuple[int, int],
    *,
    udp: bool = False,
) -> tuple[Float[np.ndarray, "b j 2"], Float[np.ndarray, " b"]]:
    """Points in pixels of crops to pixels of their images, and the crops' areas there; `matrices` lead to the crops.

    `udp` as in `crop_matrix`.
    """
    inverses = [invert(matrix) for matrix in matrices]
    areas_px = np.prod(np.array(input_hw) - float(udp)) / np.linalg.det(matrices[:, :, :2])
    in_images = [warp_points(p, m) for p, m in zip(points, inverses, strict=True)]
    return np.array(in_images, np.float64).reshape(points.shape), areas_px


def warp_image(
    image: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "2 3"], output_hw: tuple[int, int]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """An image through an affine map: bilinear, black outside."""
    return cv2.warpAffine(image, matrix, output_hw[::-1], flags=cv2.INTER_LINEAR)


def flip_points(
    points: Shaped[np.ndarray, "j c"], width: int, flip_indices: tuple[int, ...]
) -> Shaped[np.ndarray, "j c"]:
    """Joints (x, y, ...) of the mirror image: x mirrored, left and right exchanged."""
    flipped = points[list(flip_indices)]
    flipped[:, 0] = width - 1 - flipped[:, 0]
    return flipped


def erase(
    image: UInt8[np.ndarray, "h w 3"], share: float, aspect: float, corner: Float[np.ndarray, "2"], fill: np.ndarray
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy with a rectangle covered: `share` of the area, height / width `aspect`, `corner` from 0 to 1 of the room.

    Source: random erasing, arXiv 1708.04896.
    """
    h, w = image.shape[:2]
    height, width = (min(side, round(np.sqrt(share * h * w * ratio))) for side, ratio in ((h, aspect), (w, 1 / aspect)))
    left, top = (int(at * (room + 1)) for at, room in zip(corner, (w - width, h - height), strict=True))
    image = image.copy()
    image[top : top + height, left : left + width] = fill
    return image
