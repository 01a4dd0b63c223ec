"""Tests of image decoding and of the geometry of crops: known values, inverses, and images against points."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from mamkpd_jax.data import functional as F
from tests.data.exif import turned

SQRT8 = 2.0 * np.sqrt(2.0)


@pytest.mark.parametrize(
    ("rotation_deg", "expected"),
    [
        (0.0, [[4, 0, -300], [0, 4, -300]]),
        (45.0, [[SQRT8, SQRT8, -465.685303], [-SQRT8, SQRT8, 100]]),
    ],
)
def test_crop_matrix_equals_published_values(rotation_deg, expected):
    matrix = F.crop_matrix(np.array([100.0, 100.0]), np.array([50.0, 50.0]), rotation_deg, (200, 200))
    np.testing.assert_allclose(matrix, expected, atol=1e-4)


def test_udp_crops_span_pixel_centres():
    matrix = F.crop_matrix(np.array([100.0, 100.0]), np.array([60.0, 80.0]), 0.0, (256, 192), udp=True)
    corners = F.warp_points(np.array([[70.0, 60.0], [130.0, 140.0]]), matrix)
    np.testing.assert_allclose(corners, [[0, 0], [191, 255]], atol=1e-9)
    turned = F.crop_matrix(np.array([100.0, 100.0]), np.array([60.0, 80.0]), 33.0, (256, 192), udp=True)
    np.testing.assert_allclose(F.warp_points(np.array([[100.0, 100.0]]), turned), [[95.5, 127.5]])
    points = np.random.default_rng(0).uniform(-50, 300, (9, 2))
    np.testing.assert_allclose(F.warp_points(F.warp_points(points, turned), F.invert(turned)), points, atol=1e-9)


def test_erasing_covers_a_rectangle_of_given_area():
    image = np.zeros((100, 80, 3), np.uint8)
    erased = F.erase(image, 0.1, 2.0, np.array([0.5, 0.999]), np.array([9, 8, 7]))
    covered = (erased == [9, 8, 7]).all(axis=2)
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    assert covered.sum() == len(rows) * len(columns) == 40 * 20
    assert rows[-1] == 99 and 25 <= columns[0] <= 35
    assert not image.any(), "the input must not change"


def test_flip_points_equals_published_values():
    flipped = F.flip_points(np.array([[0.0, 0.0], [1.0, 1.0]]), 5, (1, 0))
    np.testing.assert_array_equal(flipped, [[3, 1], [4, 0]])


@pytest.mark.parametrize("seed", range(20))
def test_invert_undoes_a_crop(seed):
    rng = np.random.default_rng(seed)
    size = rng.uniform(5, 500, 2)
    matrix = F.crop_matrix(rng.uniform(-50, 700, 2), size, rng.uniform(-180, 180), (256, 192))
    points = rng.uniform(-100, 800, (17, 2))
    np.testing.assert_allclose(F.warp_points(F.warp_points(points, matrix), F.invert(matrix)), points, atol=1e-8)


def test_flip_points_undoes_itself():
    points = np.random.default_rng(0).uniform(0, 99, (4, 3))
    indices = (1, 0, 2, 3)
    np.testing.assert_allclose(F.flip_points(F.flip_points(points, 100, indices), 100, indices), points, atol=1e-12)


@pytest.mark.parametrize("rotation_deg", [0.0, 30.0, -75.0, 180.0])
def test_image_and_points_are_warped_alike(rotation_deg):
    """A bright spot in the crop is where the map moves its centre."""
    spot = np.array([61.0, 47.0])
    rows, columns = np.mgrid[:120, :160]
    light = 255 * np.exp(-((columns - spot[0]) ** 2 + (rows - spot[1]) ** 2) / 32)
    image = np.repeat(light[..., None], 3, axis=2).astype(np.uint8)
    matrix = F.crop_matrix(np.array([70.0, 55.0]), np.array([60.0, 80.0]), rotation_deg, (256, 192))
    crop = F.warp_image(image, matrix, (256, 192))[..., 0].astype(np.float64)
    rows, columns = np.mgrid[:256, :192]
    found = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
    np.testing.assert_allclose(found, F.warp_points(spot[None], matrix)[0], atol=0.1)


@pytest.mark.parametrize(("n", "shrinkage"), [(1, 1.0), (1, 1.4), (2, 1.6), (5, 5.0), (8, 7.5), (8, 8.4), (8, 40.0)])
def test_shrunk_pixels_are_means_of_samples(n, shrinkage):
    """The samples of the crop's pixel (0, 0) are centred on (30, 20) in the image."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    matrix = np.array([[1 / shrinkage, 0, -30 / shrinkage], [0, 1 / shrinkage, -20 / shrinkage]])
    pixel = F.warp_image(image, matrix, (1, 1))[0, 0]
    offsets = (np.arange(n) - (n - 1) / 2) * shrinkage / n
    at = np.meshgrid(20 + offsets, 30 + offsets, indexing="ij")
    samples = [map_coordinates(image[..., c].astype(float), at, order=1, mode="grid-constant") for c in range(3)]
    np.testing.assert_allclose(pixel, np.mean(samples, axis=(1, 2)), atol=2.0)


@pytest.mark.parametrize("rotation_deg", [0.0, 20.0])
def test_moving_a_large_box_changes_crops_little(shared_data, rotation_deg):
    """The box moves by half a pixel, which is less than a tenth of a pixel of the crop."""
    image = cv2.imread(str(shared_data / "ap10k" / "images" / "000000000004.jpg"))
    places = [np.array([512.0, 341.0]), np.array([512.5, 341.5])]
    matrices = [F.crop_matrix(place, np.array([1000.0, 1000.0]), rotation_deg, (128, 128)) for place in places]
    still, moved = (F.warp_image(image, matrix, (128, 128)).astype(int) for matrix in matrices)
    assert np.abs(moved - still).mean() < 1.5 and still.std() > 30


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([10.0, 5.0, 30.0, 40.0], [10, 5, 30, 40]),
        ([-5.0, -6.0, 30.0, 40.0], [0, 0, 25, 34]),
        ([80.0, 40.0, 60.0, 60.0], [80, 40, 19, 9]),
        # Outside the image at each side: no width or height. The builder drops such boxes.
        ([200.0, 10.0, 20.0, 20.0], [99, 10, 0, 20]),
        ([10.0, 60.0, 20.0, 20.0], [10, 49, 20, 0]),
        ([-30.0, 10.0, 20.0, 20.0], [0, 10, 0, 20]),
        ([10.0, -30.0, 20.0, 20.0], [10, 0, 20, 0]),
    ],
)
def test_clip_box(box, expected):
    np.testing.assert_allclose(F.clip_box(np.array(box), 50, 100), expected)


@pytest.mark.parametrize(("size", "expected"), [([30.0, 80.0], [60, 80]), ([90.0, 80.0], [90, 120])])
def test_grow_to_aspect_never_shrinks(size, expected):
    np.testing.assert_allclose(F.grow_to_aspect(np.array(size), (256, 192)), expected)


@pytest.mark.parametrize("udp", [False, True])
def test_crop_areas_are_in_image_pixels(udp):
    matrix = F.crop_matrix(np.array([70.0, 55.0]), np.array([75.0, 100.0]), 30.0, (256, 192), udp=udp)
    _, areas_px = F.from_crops(np.zeros((1, 2, 2)), matrix[None], (256, 192), udp=udp)
    np.testing.assert_allclose(areas_px, [7500.0])


RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_decode_image_converts_every_format_to_rgb():
    bgr = RGB[..., ::-1]
    grey = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)
    alpha = np.dstack([bgr, np.full(bgr.shape[:2], 9, np.uint8)])
    for stored, expected in (
        (bgr, RGB),
        (alpha, RGB),
        (grey, np.dstack([grey] * 3)),
        (bgr.astype(np.uint16) << 8, RGB),
        (grey.astype(np.uint16) << 8, np.dstack([grey] * 3)),
    ):
        data = cv2.imencode(".png", stored)[1].tobytes()
        np.testing.assert_array_equal(F.decode_image(data), expected)


def test_decode_image_ignores_exif_rotation():
    """Official annotations refer to the stored pixels. Here tag 0x112 (orientation) has the value 6, a quarter turn."""
    jpeg = cv2.imencode(".jpg", RGB)[1].tobytes()
    entry = struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    by_opencv = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
    assert by_opencv.shape == (30, 20, 3), "OpenCV does not apply the rotation"
    np.testing.assert_array_equal(F.decode_image(turned), F.decode_image(jpeg))


def test_decode_image_reads_cmyk():
    """The CMYK JPEG, as Photoshop and Pillow write it, has white, red, green and blue squares of 32 pixels."""
    image = F.decode_image((Path(__file__).parent / "images" / "cmyk.jpg").read_bytes())
    expected = [[255, 255, 255], [200, 30, 40], [20, 160, 60], [40, 70, 210]]
    assert image.shape == (32, 128, 3)
    np.testing.assert_allclose(image[16, 16::32], expected, atol=2)


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8" + b"\0" * 5000 + b"\xff\xd9"])
def test_decode_image_refuses_other_bytes(data):
    with pytest.raises(F.DamagedImage):
        F.decode_image(data)


def test_decode_image_refuses_truncated_jpeg():
    """A truncated copy is padded with zeros, which libjpeg decodes. A thumbnail's end marker does not count."""
    large = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8), (0, 0), 4)
    thumbnail = cv2.imencode(".jpg", large[::8, ::8])[1].tobytes()
    for progressive in (0, 1):
        jpeg = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
        segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
        with_thumbnail = jpeg[:2] + segment + jpeg[2:]
        for data in (jpeg, with_thumbnail, with_thumbnail + bytes(100_000)):  # a phone's video may follow
            np.testing.assert_array_equal(F.decode_image(data), F.decode_image(jpeg))
        for data in (jpeg, with_thumbnail):
            interrupted = data[: -len(jpeg) // 2] + bytes(len(jpeg) // 2)
            with pytest.raises(F.DamagedImage, match=r"a truncated image \(.*without an end marker"):
                F.decode_image(interrupted)


def test_decode_image_refuses_truncated_png():
    data = cv2.imencode(".png", RGB)[1].tobytes()
    np.testing.assert_array_equal(F.decode_image(data + bytes(5000)), RGB[..., ::-1])
    with pytest.raises(F.DamagedImage, match=r"a truncated image \(.*without an end marker"):
        F.decode_image(data[:-12])


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_decode_image_applies_exif_rotation_on_request(orientation, turns):
    data = cv2.imencode(".jpg", RGB[..., ::-1])[1].tobytes()
    stored = F.decode_image(data)
    np.testing.assert_array_equal(F.decode_image(turned(data, orientation)), stored)
    np.testing.assert_array_equal(F.decode_image(turned(data, orientation), upright=True), np.rot90(stored, turns))


def test_decode_image_refuses_too_many_pixels(monkeypatch):
    small = cv2.imencode(".png", RGB)[1].tobytes()
    with pytest.raises(F.DamagedImage, match="more than 134 million pixels"):
        # OpenCV refuses the header's size, 60,000 x 60,000, before it reads the pixels.
        header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + small[24:29]
        F.decode_image(small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:])
    monkeypatch.setattr(F, "_MAX_PIXELS", 20 * 30 - 1)
    with pytest.raises(F.DamagedImage, match="million pixels"):
        F.decode_image(small)
