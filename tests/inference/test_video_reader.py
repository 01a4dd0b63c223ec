"""Frames of every kind of video, even damaged ones, have the right numbers and times."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference import video_reader
from mamkpd_jax.inference.sources import VideoSource
from mamkpd_jax.inference.video_reader import open_video
from tests.inference.clips import damage, number_of, turn, views, write_clip
from tests.inference.streams import silent_server

_N = 40


@pytest.fixture(scope="module")
def frames(shared_data) -> list[np.ndarray]:
    return views(shared_data / "coco_mini" / "000000000785.jpg", _N)


def _numbers(path: Path, frames: list[np.ndarray]) -> tuple[list[int], int | None]:
    """The numbers of the decoded frames, checked against their content; and the expected number of frames."""
    video = open_video(VideoSource(path))
    numbers = []
    for frame in video:
        assert number_of(frame.image, frames) == frame.number
        numbers.append(frame.number)
    return numbers, video.n_frames


_KINDS = [
    ("clip.mp4", "libx264"),
    ("clip.mov", "mpeg4"),
    ("clip.mkv", "libx264"),
    ("clip.webm", "libvpx-vp9"),
    ("clip.webm", "libvpx"),
    ("clip.ts", "libx264"),
    ("clip.mpg", "mpeg2video"),
    ("clip.avi", "mjpeg"),
    ("clip.avi", "mpeg4"),
    ("clip.avi", "libx264"),
]


@pytest.mark.parametrize(("name", "codec"), _KINDS)
def test_undamaged_videos_give_all_frames(tmp_path, frames, name, codec):
    clip = write_clip(tmp_path / name, frames, codec=codec, rate=Fraction(25))
    numbers, n_frames = _numbers(clip, frames)
    assert numbers == list(range(_N)) and n_frames == _N
    times = [frame.time_s for frame in open_video(VideoSource(clip))]
    np.testing.assert_allclose(times, np.arange(_N) / 25, atol=0.0006)  # Matroska counts in milliseconds


@pytest.mark.parametrize(("name", "codec"), _KINDS)
def test_damage_keeps_the_numbers_of_later_frames(tmp_path, frames, name, codec):
    clip = damage(write_clip(tmp_path / name, frames, codec=codec, rate=Fraction(25)), 0.45, 0.55)
    video = open_video(VideoSource(clip))
    read = {frame.number: frame for frame in video}
    assert video.n_frames == _N and 5 < len(read) < _N
    # Pictures may be corrupt until the next key frame: times confirm their numbers, and contents those of the last.
    np.testing.assert_allclose([f.time_s * 25 for f in read.values()], list(read), atol=0.02)
    assert all(number_of(read[i].image, frames) == i for i in (0, 1, 2, _N - 3, _N - 2, _N - 1))


def test_truncated_videos_count_missing_frames(tmp_path, frames):
    for name, codec, flags in (
        ("clip.mp4", "libx264", "faststart"),
        ("clip.mkv", "libx264", ""),
        ("clip.avi", "mjpeg", ""),
    ):
        clip = write_clip(tmp_path / name, frames, codec=codec, flags=flags)
        clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 6 // 10])
        numbers, n_frames = _numbers(clip, frames)
        assert numbers == list(range(len(numbers))) and 10 < len(numbers) < n_frames == _N, name


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4", "clip.ts"])
def test_variable_frame_rates_keep_their_times(tmp_path, frames, name):
    times_s = [i * 0.04 for i in range(15)] + [3.0, 3.04, 5.5, 5.51, 9.0]
    clip = write_clip(tmp_path / name, frames[: len(times_s)], times_s=times_s, rate=Fraction(25))
    video = open_video(VideoSource(clip))
    found = [(frame.number, frame.time_s) for frame in video]
    assert [number for number, _ in found] == list(range(20)) and video.n_frames == 20, "a pause loses no frame"
    np.testing.assert_allclose([time_s for _, time_s in found], times_s, atol=1e-6)


def test_pauses_of_avi_are_not_lost_frames(tmp_path, frames):
    """The writer fills pauses with frames of zero bytes, which repeat the previous frame."""
    times_s = [0.0, 0.1, 0.2, 0.7, 0.8, 1.5]
    clip = write_clip(tmp_path / "clip.avi", frames[:6], codec="mjpeg", times_s=times_s, time_base=Fraction(1, 10))
    video = open_video(VideoSource(clip))
    found = [(frame.number, frame.time_s) for frame in video]
    assert [number for number, _ in found] == list(range(6)) and video.n_frames == 6
    np.testing.assert_allclose([time_s for _, time_s in found], times_s, atol=1e-6)


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_rotated_videos_are_read_upright(tmp_path, frames, matrix):
    clip = turn(write_clip(tmp_path / "clip.mp4", frames[:3]), *matrix)
    (expected, *_) = _by_opencv(clip)
    (frame, *_) = open_video(VideoSource(clip))
    assert frame.image.shape == expected.shape == ((240, 320, 3) if matrix[0] else (320, 240, 3))
    assert np.abs(frame.image.astype(int) - expected).mean() < 1


def test_mirrored_videos_are_read_as_shown(tmp_path, frames):
    (front, _) = open_video(VideoSource(turn(write_clip(tmp_path / "a.mp4", frames[:2]), -1, 0, 0, 1)))
    assert np.abs(front.image[:, ::-1].astype(int) - frames[0]).mean() < 6
    (turned, _) = open_video(VideoSource(turn(write_clip(tmp_path / "b.mp4", frames[:2]), 0, 1, 1, 0)))
    assert np.abs(turned.image.transpose(1, 0, 2).astype(int) - frames[0]).mean() < 6


def test_joined_recordings_of_two_sizes_continue(tmp_path, frames):
    first = write_clip(tmp_path / "a.ts", frames[:12], rate=Fraction(25))
    smaller = [cv2.resize(frame, (160, 120)) for frame in frames[12:24]]
    second = write_clip(tmp_path / "b.ts", smaller, rate=Fraction(25))
    (tmp_path / "joined.ts").write_bytes(first.read_bytes() + second.read_bytes())
    read = list(open_video(VideoSource(tmp_path / "joined.ts")))
    assert [frame.number for frame in read] == list(range(24))
    assert [frame.image.shape[1] for frame in read] == [320] * 12 + [160] * 12
    np.testing.assert_allclose(np.diff([frame.time_s for frame in read]), 0.04, atol=0.03)


def test_frames_before_a_cut_keep_numbers(tmp_path, frames):
    """Some of the lost frames precede the last decoded one."""
    content = write_clip(tmp_path / "clip.mkv", frames, rate=Fraction(25)).read_bytes()
    for percent in range(50, 100):
        (tmp_path / "cut.mkv").write_bytes(content[: len(content) * percent // 100])
        video = open_video(VideoSource(tmp_path / "cut.mkv"))
        assert all(frame.number == round(frame.time_s * 25) for frame in video) and video.n_frames == _N


def test_frames_hidden_by_edit_lists_are_not_lost(tmp_path, frames):
    """As phones trim videos: the first frames stay in the file, with times below 0."""
    clip = write_clip(tmp_path / "clip.mp4", frames, rate=Fraction(25))
    with av.open(str(clip)) as source, av.open(str(tmp_path / "trimmed.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                assert packet.time_base is not None and packet.pts is not None and packet.dts is not None
                shift = round(Fraction(9, 25) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                target.mux(packet)
    video = open_video(VideoSource(tmp_path / "trimmed.mp4"))
    read = [(frame.number, number_of(frame.image, frames)) for frame in video]
    assert read == [(i, i + 9) for i in range(_N - 9)] and video.n_frames == _N - 9


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animated_pictures_keep_their_durations(tmp_path, frames, suffix):
    path, durations_ms = tmp_path / f"moving.{suffix}", [100, 50, 200, 30, 400] * 4
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGRA) for frame in frames[:20]]
    animation.durations = np.array(durations_ms, np.int32)
    assert cv2.imwriteanimation(str(path), animation)
    read = list(open_video(VideoSource(path)))
    assert [number_of(frame.image, frames) for frame in read] == [frame.number for frame in read] == list(range(20))
    np.testing.assert_allclose([f.time_s * 1000 for f in read], np.cumsum([0, *durations_ms[:-1]]), atol=1e-6)
    np.testing.assert_allclose([f.duration_s * 1000 for f in read], durations_ms, atol=1e-6)


def test_files_without_video_are_refused(tmp_path, frames):
    (tmp_path / "text.mp4").write_text("a renamed text file", encoding="utf-8")
    with pytest.raises(UserError, match=r"text.mp4 can't be opened as a video \(invalid data"):
        open_video(VideoSource(tmp_path / "text.mp4"))
    with pytest.raises(UserError, match=r"none.mp4 can't be opened as a video \(no such file"):
        open_video(VideoSource(tmp_path / "none.mp4"))
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux([*stream.encode(sound), *stream.encode()])
    with pytest.raises(UserError, match=r"sound.mp4 has no video"):
        open_video(VideoSource(tmp_path / "sound.mp4"))


@pytest.mark.parametrize("address", ["http://{}/clip.mp4", "rtsp://user:secret@{}/door"])
def test_silent_servers_time_out(monkeypatch, address):
    monkeypatch.setattr(video_reader, "_TIMEOUT_S", 0.5)
    with silent_server() as host, pytest.raises(UserError, match=r"opened as a video \(no answer for 0.5 s\)") as error:
        open_video(VideoSource(address.format(host)))
    assert "secret" not in str(error.value)


def _by_opencv(path: Path) -> list[np.ndarray]:
    """The frames as OpenCV reads them: it applies the rotation."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return frames
