"""Every kind of image gives the pixels of its file, or a one-line error."""

import io
import sys

import cv2
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.images import read

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (24, 36, 3), np.uint8)
DEEP = RNG.integers(0, 2**16, (24, 36, 3), np.uint16)


def _png(array: np.ndarray) -> bytes:
    """A gray, RGB or RGBA array as a PNG file."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(array.shape[2], [0]) if array.ndim == 3 else None
    return cv2.imencode(".png", array if order is None else np.ascontiguousarray(array[..., order]))[1].tobytes()


def _pixels(image, upright: bool = True) -> np.ndarray:
    pixels = read(image, upright=upright)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    return pixels


@pytest.mark.parametrize(
    "array",
    [
        RGB,
        RGB[..., 0],
        RGB[..., :1],
        np.dstack([RGB, RGB[..., 0]]),
        DEEP,
        DEEP[..., 0],
        DEEP.astype(">u2"),
        np.dstack([DEEP, DEEP[..., 0]]),
    ],
    ids=["rgb", "gray", "gray1", "rgba", "rgb16", "gray16", "big endian", "rgba16"],
)
def test_an_array_is_read_as_its_file(array):
    file = _png(array.astype(array.dtype.newbyteorder("=")))
    np.testing.assert_array_equal(_pixels(array), _pixels(file))
    np.testing.assert_array_equal(_pixels(file), decode_image(file))


def test_float_and_bool_arrays_are_scaled():
    for dtype in (np.float16, np.float32, np.float64):
        np.testing.assert_array_equal(_pixels((RGB / 255).astype(dtype)), RGB)
    np.testing.assert_array_equal(_pixels(RGB[..., 0] > 99), np.repeat((RGB[..., :1] > 99) * np.uint8(255), 3, axis=2))
    np.testing.assert_array_equal(_pixels(jnp.asarray(RGB)), RGB)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RGB.astype(np.float32), r"array float32 \(24, 36, 3\) with values from 0 to 255; expected .* 0 to 1"),
        (RGB / 255 - 0.25, "with values from -0.25 to 0.75"),
        (np.full((4, 4), np.nan), "with values from nan to nan"),
        (RGB.astype(int), r"array int64 \(24, 36, 3\); expected uint8, uint16, bool, or float"),
        (np.zeros((4, 4, 2), np.uint8), r"array uint8 \(4, 4, 2\); expected"),
        (np.zeros((0, 4, 3), np.uint8), r"array uint8 \(0, 4, 3\); expected"),
        (np.stack([RGB, RGB]), r"\(2, 24, 36, 3\); for several images give a list of arrays"),
        (b"no picture", "the image is 10 bytes that are not an image"),
        (7, "the image is int; expected a path, an http:// or"),
        (None, "the image is NoneType; expected"),
        (io.BytesIO(_png(RGB)), "the image is BytesIO; expected .* the bytes of a picture file"),
        ("ftp://example.com/a.jpg", "ftp://example.com/a.jpg can't be downloaded; expected a file, or an http:"),
    ],
)
def test_other_inputs_are_refused_in_one_line(predictor, image, message):
    with pytest.raises(UserError, match=message) as error:
        predictor(image, "whole")
    assert "\n" not in str(error.value)


def _opened(path):
    """A picture as Pillow opens it: not decoded yet."""
    return PIL.Image.open(io.BytesIO(path.read_bytes()))


def test_pil_images_are_read_as_their_files(tmp_path):
    palette = PIL.Image.fromarray(RGB).quantize(200)
    palette.info["transparency"] = bytes(range(200))
    images = [PIL.Image.fromarray(array) for array in (RGB, RGB[..., 0], np.dstack([RGB, RGB[..., 0]]), DEEP[..., 0])]
    for image in (*images, PIL.Image.fromarray(RGB[..., 0] > 99), palette, images[0].convert("LA")):
        image.save(tmp_path / "image.png")
        np.testing.assert_array_equal(_pixels(image), _pixels(tmp_path / "image.png"), err_msg=image.mode)
    assert np.abs(_pixels(images[0].convert("CMYK")).astype(int) - RGB).max() <= 1
    with pytest.raises(UserError, match="array float32 .* with values from 3 to 3"):
        read(PIL.Image.new("F", (5, 4), 3.0), upright=True)


def test_pil_images_are_rotated_like_files(tmp_path):
    exif = PIL.Image.Exif()
    for exif[0x112] in range(1, 9):
        PIL.Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
        for upright in (True, False):
            expected = _pixels(tmp_path / "turned.png", upright)
            np.testing.assert_array_equal(_pixels(_opened(tmp_path / "turned.png"), upright), expected)
    assert expected.shape == RGB.shape and _pixels(tmp_path / "turned.png").shape == (36, 24, 3)


def test_single_images_and_lists_are_distinguished(predictor, pictures, tmp_path):
    """Each form of a picture gives its file's pose, alone and in a list. Results keep pixels, except for paths."""
    pixels = decode_image(pictures[0][0].read_bytes())
    file = tmp_path / "picture.png"
    file.write_bytes(_png(pixels))
    forms = [file, str(file), file.read_bytes(), memoryview(file.read_bytes()), _opened(file), pixels]
    (expected,) = predictor(file, "whole")
    for form in forms:
        (alone,) = predictor(form, "whole")
        np.testing.assert_array_equal(alone.keypoints, expected.keypoints)
        np.testing.assert_array_equal(alone.draw(), expected.draw())
    opened = _opened(file)
    several = predictor([*forms, opened, opened], "whole")  # two threads may decode it
    assert len(several) == len(forms) + 2
    for result in several:
        np.testing.assert_allclose(result.keypoints, expected.keypoints, atol=1e-5)
    assert [result.image for result in several[:2]] == [file, str(file)]
    assert isinstance(several[2].image, np.ndarray)
    two = predictor(np.array([str(file)] * 2), "whole")
    assert len(two) == 2


def test_a_damaged_pil_image_is_refused(tmp_path, predictor):
    (tmp_path / "cut.png").write_bytes(_png(RGB)[:-300])
    with pytest.raises(UserError, match=r"the image can't be decoded \(.*\); copy its file again"):
        predictor(_opened(tmp_path / "cut.png"), "whole")


def _animation(suffix: str, n: int, folder) -> bytes:
    animation = cv2.Animation()
    animation.frames = [np.full((24, 36, 4 if suffix == ".png" else 3), 20 * i, np.uint8) for i in range(n)]
    animation.durations = [40] * n
    path = folder / f"animation{suffix}"
    assert cv2.imwriteanimation(str(path), animation)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
def test_the_predictor_refuses_animated_pictures(suffix, tmp_path, predictor):
    data = _animation(suffix, 12, tmp_path)
    path = tmp_path / f"animation{suffix}"
    for image in (data, path, str(path)):
        with pytest.raises(UserError, match=r"is animated \(12 frames\); .*`mamkpd predict`, which takes it as a vid"):
            predictor(image, "whole")
    assert _pixels(_animation(suffix, 1, tmp_path)).shape == (24, 36, 3)
    assert _pixels(cv2.imencode(suffix, RGB)[1].tobytes()).shape == (24, 36, 3)


def test_one_frame_of_an_animation_is_read(tmp_path, predictor):
    _animation(".gif", 3, tmp_path)
    with pytest.raises(UserError, match=r"the image is animated \(3 frames\)"):
        predictor(_opened(tmp_path / "animation.gif"), "whole")
    second = _opened(tmp_path / "animation.gif")
    second.seek(1)
    assert abs(_pixels(second.copy()).mean() - 20) < 8  # the frames are 0, 20 and 40


@pytest.fixture
def heic():
    return pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")


def _heic(heic, array: np.ndarray, mode: str, **options) -> bytes:
    file = io.BytesIO()
    heic.from_bytes(mode, array.shape[1::-1], array.tobytes()).save(file, quality=-1, chroma=444, **options)
    return file.getvalue()


def test_heic_pictures_are_read(heic, tmp_path):
    smooth = cv2.resize(RGB[:3, :4], (64, 48), interpolation=cv2.INTER_CUBIC)
    gray = np.ascontiguousarray(smooth[..., 0])
    deep = smooth.astype(np.uint16) << 8
    for array, mode, expected in (
        (smooth, "RGB", smooth),
        (np.dstack([smooth, gray]), "RGBA", smooth),
        (gray, "L", np.repeat(gray[..., None], 3, axis=2)),
        (deep, "RGB;16", smooth),
    ):
        (tmp_path / "photo.heic").write_bytes(_heic(heic, array, mode))
        pixels = _pixels(tmp_path / "photo.heic")
        assert pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected).mean() < 3, mode


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_heic_pictures_are_upright(heic, orientation, turns):
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    quarters = np.zeros((48, 64, 3), np.uint8)
    quarters[:24, :32], quarters[24:, 32:] = [250, 0, 0], [0, 0, 250]
    data = _heic(heic, quarters, "RGB", exif=exif.tobytes())
    for upright in (True, False):
        pixels, expected = _pixels(data, upright), np.rot90(quarters, turns)
        assert pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected).mean() < 3


def test_damaged_and_huge_heic_pictures_are_refused(heic, monkeypatch):
    data = _heic(heic, RGB[:, :36], "RGB")
    with pytest.raises(UserError, match="the image is a damaged HEIC picture .*; copy it again"):
        read(data[: len(data) // 2], upright=True)
    monkeypatch.setattr("mamkpd_jax.data.functional._MAX_PIXELS", 24 * 36 - 1)
    with pytest.raises(UserError, match="an image of more than 0 million pixels"):
        read(data, upright=True)


def test_heic_without_its_extra_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    head = b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf" + bytes(100)  # the first box of an iPhone's file
    (tmp_path / "photo.HEIC").write_bytes(head)
    with pytest.raises(UserError, match=r"photo\.HEIC is a HEIC picture; to read it: pip install pillow-heif$"):
        read(tmp_path / "photo.HEIC", upright=True)
