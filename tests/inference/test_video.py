"""Videos of real pictures: every frame has its poses, and files without video are refused."""

import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mamkpd_jax import Predictor
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.results import OutputOptions
from mamkpd_jax.inference.sources import VideoSource
from mamkpd_jax.inference.video import TrackingOptions, predict_video
from mamkpd_jax.inference.video_reader import open_video
from mamkpd_jax.inference.video_writer import VideoWriter
from tests.inference.clips import damage, decoded, views, write_clip

_N = 6
_SHIFT_PX = 4  # per frame


@pytest.fixture
def clip(pictures, tmp_path) -> Path:
    """A clip of a camera that moves to the right over a photograph."""
    path, _ = pictures[0]
    image = cv2.imread(str(path))
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (400, 424))
    for i in range(_N):
        writer.write(np.ascontiguousarray(image[:424, _SHIFT_PX * i : _SHIFT_PX * i + 400]))
    writer.release()
    return tmp_path / "clip.avi"


def _boxes(calls: list, *boxes: tuple[float, ...]):
    def detect(image: np.ndarray):
        calls.append(image.shape)
        return [[x - _SHIFT_PX * (len(calls) - 1), *rest] for x, *rest in boxes], [0.9] * len(boxes)

    return detect


def test_every_frame_has_poses_with_their_numbers(predictor, clip, tmp_path):
    calls = []
    detect = _boxes(calls, (280, 44, 110, 340), (20, 44, 110, 340), (20, 44, -1, 340))
    wrong = predict_video(
        predictor, VideoSource(clip), detect, OutputOptions(output=tmp_path / "out"), TrackingOptions()
    )
    results = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert [r["frame"] for r in results] == [r["image_id"] for r in results] == [f for f in range(_N) for _ in "ab"]
    assert [r["time_s"] for r in results[::2]] == [pytest.approx(f / 10) for f in range(_N)]
    assert all({r["track_id"] for r in results[i : i + 2]} == {1, 2} for i in range(0, len(results), 2))
    assert calls == [(424, 400, 3)] * _N
    assert len(wrong) == _N and "frame 3: the box (8, 44, -1, 340) has no width" in wrong[3]
    film = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == _N and film.get(cv2.CAP_PROP_FPS) == 10
    assert not list((tmp_path / "out").glob("*unfinished*"))


def test_boxes_follow_the_poses_between_detections(predictor, clip, tmp_path):
    calls = []
    tracking = TrackingOptions(detect_every=3, smooth=True, max_frames=5)
    options = OutputOptions(output=tmp_path, draw=False)
    assert predict_video(predictor, VideoSource(clip), _boxes(calls, (280, 44, 110, 340)), options, tracking) == []
    results = json.loads((tmp_path / "results.json").read_bytes())
    assert [r["frame"] for r in results] == [0, 1, 2, 3, 4] and len(calls) < 5
    assert not (tmp_path / "clip.mp4").exists()


def test_followed_poses_stay_near_detected_ones(clip, tmp_path):
    people, found = Predictor.from_pretrained("people"), {}
    for every in (1, _N):
        options = OutputOptions(output=tmp_path / str(every), draw=False)
        tracking = TrackingOptions(detect_every=every)
        assert predict_video(people, VideoSource(clip), _boxes([], (280, 44, 110, 340)), options, tracking) == []
        rows = json.loads((options.output / "results.json").read_bytes())
        found[every] = np.array([row["keypoints"] for row in rows]).reshape(_N, people.skeleton.n_joints, 3)
    sure = found[1][..., 2] > 0.4
    distances_px = np.linalg.norm(found[_N][..., :2] - found[1][..., :2], axis=-1)[sure]
    assert sure.sum() > 40 and np.median(distances_px) < 3  # less than a pixel of the crop


def test_smoothing_changes_points_but_no_scores(predictor, clip, tmp_path):
    found = {}
    for smooth in (False, True):
        options = OutputOptions(output=tmp_path / str(smooth), draw=False)
        predict_video(
            predictor, VideoSource(clip), _boxes([], (280, 44, 110, 340)), options, TrackingOptions(smooth=smooth)
        )
        rows = json.loads((options.output / "results.json").read_bytes())
        found[smooth] = np.array([row["keypoints"] for row in rows]).reshape(_N, 17, 3)
    np.testing.assert_array_equal(found[True][..., 2], found[False][..., 2])
    np.testing.assert_array_equal(found[True][0], found[False][0])
    steps = {smooth: np.abs(np.diff(points[..., :2], axis=0)).mean() for smooth, points in found.items()}
    assert 0 < steps[True] < steps[False]


def test_files_without_video_are_refused(predictor, clip, tmp_path):
    empty, none = tmp_path / "empty.avi", tmp_path / "none.mp4"
    writer = cv2.VideoWriter(str(empty), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 64))
    writer.release()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[:2000])
    for source in (empty, none, cut, 63):
        with pytest.raises(UserError, match="can't be opened|has no frame that can be decoded"):
            predict_video(
                predictor, VideoSource(source), _boxes([]), OutputOptions(output=tmp_path / "out"), TrackingOptions()
            )
    assert not (tmp_path / "out").exists()


_BOX = (60, 20, 100, 200)


def _predict(predictor, clip, output, **tracking):
    """Predicts one box in each frame, and returns the messages and results.json."""
    options = OutputOptions(output=output, box_threshold=0.0)
    wrong = predict_video(predictor, VideoSource(clip), lambda _: ([_BOX], [0.9]), options, TrackingOptions(**tracking))
    return wrong, json.loads((output / "results.json").read_bytes())


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("clip.mp4", "libx264", Fraction(211_222, 1000)),
        ("clip.avi", "mjpeg", Fraction(211_222, 1000)),
        ("clip.mp4", "libx264", Fraction(239_868, 1000)),
        ("clip.avi", "libx264", Fraction(239_868, 1000)),
        ("clip.mp4", "mjpeg", Fraction(90_000)),
        ("clip.mp4", "libx264", Fraction(1, 2)),
        ("clip.avi", "mjpeg", Fraction(1, 2)),
    ],
)
def test_any_frame_rate_is_kept(predictor, pictures, tmp_path, name, codec, rate):
    clip = write_clip(tmp_path / name, views(pictures[0][0], 4), rate=rate, codec=codec)
    wrong, results = _predict(predictor, clip, tmp_path / "out")
    times_s = [i / float(rate) for i in range(4)]
    assert wrong == [] and [pose["time_s"] for pose in results] == pytest.approx(times_s, abs=1e-6)
    drawn, drawn_times_s = decoded(tmp_path / "out" / "clip.mp4")
    assert drawn_times_s == pytest.approx(times_s, abs=1e-6) and len(drawn) == 4


def test_drawn_videos_play_in_browsers(predictor, pictures, tmp_path):
    frames = [frame[:, :-1] for frame in views(pictures[0][0], 4, (320, 241))]  # 319 x 241
    clip = write_clip(tmp_path / "odd.mkv", frames, codec="ffv1", times_s=[0.0, 0.04, 0.5, 0.6])
    _, results = _predict(predictor, clip, tmp_path / "out")
    drawn = tmp_path / "out" / "odd.mp4"
    with av.open(str(drawn)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.codec_context.width, stream.codec_context.height) == (320, 242)
    content = drawn.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat") and b"moof" not in content
    shown, times_s = decoded(drawn)
    assert times_s == pytest.approx([0.0, 0.04, 0.5, 0.6], abs=1e-6)
    (expected,) = predictor([frame.image for frame in open_video(VideoSource(clip))][2], [_BOX])
    np.testing.assert_allclose(np.reshape(results[2]["keypoints"], (-1, 3))[:, :2], expected.keypoints[0], atol=0.01)
    untouched = np.abs(shown[2][:241, :319].astype(int) - frames[2]).mean(axis=2) < 20
    assert untouched.mean() > 0.8


def test_frames_of_another_size_are_scaled(predictor, pictures, tmp_path):
    frames = views(pictures[0][0], 8)
    first = write_clip(tmp_path / "a.ts", frames, rate=Fraction(25))
    second = write_clip(tmp_path / "b.ts", [cv2.resize(f, (160, 180)) for f in frames], rate=Fraction(25))
    (tmp_path / "joined.ts").write_bytes(first.read_bytes() + second.read_bytes())
    wrong, results = _predict(predictor, tmp_path / "joined.ts", tmp_path / "out")
    assert wrong == [] and [pose["frame"] for pose in results] == list(range(16))
    drawn, _ = decoded(tmp_path / "out" / "joined.mp4")
    assert [image.shape for image in drawn] == [(240, 320, 3)] * 16
    assert drawn[-1][:, 240:].mean() < 20 < drawn[-1][:, :200].mean(), "160 x 180 fills 213 x 240"


def test_lost_frames_are_named(predictor, pictures, tmp_path):
    frames = views(pictures[0][0], 30)
    clip = damage(write_clip(tmp_path / "clip.avi", frames, codec="mjpeg"), 0.45, 0.55)
    wrong, results = _predict(predictor, clip, tmp_path / "out")
    there = [pose["frame"] for pose in results]
    (first,) = np.flatnonzero(np.diff(there) > 1)
    assert wrong == [
        f"{clip}: frames {there[first] + 1} to {there[first + 1] - 1} can't be decoded; the video is damaged or "
        "incomplete"
    ]
    assert there[0] == 0 and there[-1] == 29
    lines = [json.loads(line) for line in (tmp_path / "out" / "poses.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["frame"] for line in lines] == there and [line["time_s"] for line in lines] == [n / 10 for n in there]
    assert [pose for line in lines for pose in line["poses"]] == results
    _, drawn_times_s = decoded(tmp_path / "out" / "clip.mp4")
    assert drawn_times_s == pytest.approx([n / 10 for n in there])
    wrong, results = _predict(predictor, clip, tmp_path / "out", max_frames=5)
    assert wrong == [] and [pose["frame"] for pose in results] == list(range(5)), "frames after max_frames are not lost"


def test_a_missing_end_is_named(predictor, pictures, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", views(pictures[0][0], 30), flags="faststart")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    wrong, results = _predict(predictor, clip, tmp_path / "out")
    n = len(results)
    assert wrong == [f"{clip}: frames {n} to 29 can't be decoded; the video is damaged or incomplete"] and 5 < n < 29


def test_refused_videos_leave_earlier_results(predictor, clip, tmp_path):
    _, results = _predict(predictor, clip, tmp_path / "out")
    with pytest.raises(UserError, match="can't be opened"):
        _predict(predictor, tmp_path / "none.avi", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "results.json").read_bytes()) == results


@pytest.mark.parametrize("folder", ["", "pictures"])
def test_outputs_never_replace_other_files(predictor, clip, pictures, tmp_path, folder):
    video = write_clip(tmp_path / "clip.mp4", views(pictures[0][0], 4))
    before = video.read_bytes()
    (tmp_path / "pictures" / "poses").mkdir(parents=True)
    with pytest.raises(UserError, match="is the video itself|holds poses of pictures"):
        _predict(predictor, video, tmp_path / folder)
    assert video.read_bytes() == before and not list(tmp_path.rglob("results.json"))


@pytest.mark.parametrize("name", ["results.json", "clip.mp4"])
def test_unrelated_files_are_not_replaced(predictor, clip, tmp_path, name):
    output = tmp_path / "out"
    output.mkdir()
    (output / name).write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=f"{name} has no poses of a video and would be overwritten"):
        _predict(predictor, clip, output)
    assert [(path.name, path.read_text(encoding="utf-8")) for path in output.iterdir()] == [(name, "mine")]


def test_frames_with_equal_times_are_smoothed(predictor, pictures, tmp_path):
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(f, cv2.COLOR_RGB2BGRA) for f in views(pictures[0][0], 4)]
    animation.durations = np.zeros(4, np.int32)
    assert cv2.imwriteanimation(str(tmp_path / "moving.webp"), animation)
    wrong, results = _predict(predictor, tmp_path / "moving.webp", tmp_path / "out", smooth=True)
    assert wrong == [] and len(results) == 4 and np.isfinite([pose["keypoints"] for pose in results]).all()
    assert len(decoded(tmp_path / "out" / "moving.mp4")[0]) == 4


@pytest.mark.parametrize("rate", [2, 10, 100])
def test_unfinished_videos_lack_at_most_a_second(rate, tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", Fraction(rate), Fraction(1, 1000))
    for i in range(4 * rate):
        writer.add(np.full((40, 60, 3), 5 * i % 250, np.uint8), i / rate, 1 / rate)
    assert len(decoded(writer.unfinished)[0]) >= 3 * rate
