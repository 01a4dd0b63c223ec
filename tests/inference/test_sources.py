"""Which inputs are videos."""

import cv2
import numpy as np
import pytest

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.animations import animated_frames
from mamkpd_jax.inference.images import read
from mamkpd_jax.inference.sources import VideoSource, find_video


@pytest.mark.parametrize(
    ("given", "source", "stem"),
    [
        ("camera", VideoSource(0), "camera"),
        ("camera:2", VideoSource(2), "camera"),
        ("rtsp://user:secret@10.0.0.9:554/door/main", VideoSource("rtsp://user:secret@10.0.0.9:554/door/main"), "main"),
        ("rtsp://me:se@secret@10.0.0.9/door", VideoSource("rtsp://me:se@secret@10.0.0.9/door"), "door"),
        ("udp://239.0.0.1:1234", VideoSource("udp://239.0.0.1:1234"), "stream"),
        ("https://a.org/a%20b.MP4?token=1", VideoSource("https://a.org/a%20b.MP4?token=1"), "a_20b"),
        ("http://a.org/live.m3u8", VideoSource("http://a.org/live.m3u8"), "live"),
        ("http://a.org/photo.jpg", None, None),
        ("photos", None, None),
        ("photos/*.jpg", None, None),
    ],
)
def test_videos_are_found_by_name_or_address(given, source, stem):
    assert find_video(given) == source and (source is None or source.stem == stem)
    assert source is None or "secret" not in str(source)


def test_files_are_videos_by_suffix_or_frames(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    assert find_video(str(tmp_path / "folder.mp4")) is None
    assert find_video(str(tmp_path / "CLIP.MOV")) == VideoSource(tmp_path / "CLIP.MOV")
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    for suffix in ("jpg", "png", "webp", "gif"):
        cv2.imwrite(str(tmp_path / f"still.{suffix}"), image)
        assert find_video(str(tmp_path / f"still.{suffix}")) is None
    assert animated_frames(tmp_path / "none.gif") == animated_frames(b"GIF89a") == animated_frames(b"") == 1


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_frames_of_animated_pictures_are_counted(tmp_path, suffix):
    path, animation = tmp_path / f"moving.{suffix}", cv2.Animation()
    animation.frames = list(np.random.default_rng(0).integers(0, 256, (7, 40, 60, 4), np.uint8))
    animation.durations = np.full(7, 50, np.int32)
    assert cv2.imwriteanimation(str(path), animation)
    assert animated_frames(path) == animated_frames(path.read_bytes()) == 7
    assert find_video(str(path)) == VideoSource(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    if suffix == "webp":  # no library opens a truncated one
        with pytest.raises(UserError, match="moving.webp is .* not an image"):
            read(path, upright=True)
    else:
        assert 1 < animated_frames(path) <= 7


@pytest.mark.parametrize(
    "address", ["rtsp://user:secret@host/a", "RTMP://host/a", "http://host/a.mp4", "https://host/a"]
)
def test_offline_refuses_every_address(address):
    with pytest.raises(UserError, match=r"//host/a\S* is a network address, and --offline is set; give a local file"):
        find_video(address, offline=True)
