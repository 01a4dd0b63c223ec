"""Videos of real pictures: every frame has its poses, and files that are none are told."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.results import OutputOptions
from mamkpd_jax.inference.sources import VideoSource
from mamkpd_jax.inference.video import TrackingOptions, predict_video

_N = 6
_SHIFT_PX = 4  # a frame


@pytest.fixture
def clip(pictures, tmp_path) -> Path:
    """The camera moves to the right over a photograph."""
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


def test_smoothing_changes_points_and_no_scores(predictor, clip, tmp_path):
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


def test_what_is_no_video_is_told(predictor, clip, tmp_path):
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
