"""Poses of a video or a camera, frame by frame, with track ids.

OUTPUT/results.json is in COCO's results form, the image_id being the frame counted from 0, with 'frame', 'time_s' and
'track_id' too; OUTPUT/NAME.mp4 shows it. Both are atomic writes.
"""

import dataclasses
import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from absl import logging
from jaxtyping import Int, UInt8
from tqdm import tqdm

from mamkpd_jax.errors import UserError
from mamkpd_jax.files import write_json
from mamkpd_jax.inference.boxes import Detector
from mamkpd_jax.inference.coco_classes import subject
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.inference.results import OutputOptions, PoseResult
from mamkpd_jax.inference.smoothing import OneEuro
from mamkpd_jax.inference.tracking import Tracker

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
_DEFAULT_FPS = 30.0  # of a source that tells none
_LABEL = (255, 255, 255)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrackingOptions:
    """How people are followed from frame to frame."""

    detect_every: int = 1  # frames; in between the boxes are around the last poses
    smooth: bool = False  # the joints, by the One-Euro filter
    max_frames: int | None = None


def predict_video(
    predictor: Predictor, source: Path | int, detector: Detector, options: OutputOptions, tracking: TrackingOptions
) -> list[str]:
    """Predicts the frames of a file or, by its number, of a camera until Ctrl-C; returns a line for each bad box.

    Raises:
        UserError: it can't be opened or has no frames.
    """
    name = f"camera {source}" if isinstance(source, int) else str(source)
    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    if not capture.isOpened():
        raise UserError(
            f"{name} can't be opened as a video; check that it is there, and that its format is a usual one"
        )
    fps = capture.get(cv2.CAP_PROP_FPS) or _DEFAULT_FPS
    total = tracking.max_frames or max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) or None
    film = _Film(options.output / f"{source.stem if isinstance(source, Path) else 'camera'}.mp4", fps)
    people = _People(predictor, detector, options, tracking)
    results, wrong, finished_s, n = [], [], [], 0
    start = time.perf_counter()
    frames = itertools.islice(_frames(capture), tracking.max_frames)
    try:
        for n, frame in enumerate(tqdm(frames, total=total, unit="frame", disable=None), start=1):
            index = n - 1
            time_s = index / fps if isinstance(source, Path) else time.perf_counter() - start
            result, ids = people.find(frame, index, time_s)
            wrong += [f"{name}, frame {index}: {reason}; it was left out" for reason in result.left_out]
            for pose, i in zip(result.to_coco(image_id=index, category_id=options.category_id), ids, strict=True):
                results.append({**pose, "frame": index, "time_s": round(time_s, 6), "track_id": int(i)})
            if options.draw:
                film.add(_drawn(result, ids, options.joint_threshold))
            finished_s.append(time.perf_counter())
    except KeyboardInterrupt:
        logging.info("stopped after %d frames", n)
    if not n:
        raise UserError(f"{name} has no frame that can be decoded; copy the file again")
    film.close()
    write_json(options.output / "results.json", results)
    n_tracks = len({pose["track_id"] for pose in results})
    print(f"{name}: {n} frames, {subject(predictor.skeleton, n_tracks)} found")
    if len(finished_s) > 1:  # compiling is a matter of the first
        rate = (len(finished_s) - 1) / (finished_s[-1] - finished_s[0])
        logging.info("%d frames, %.1f frames a second after the first", n, rate)
    return wrong


@dataclasses.dataclass(slots=True)
class _People:
    """Poses and track ids of the people in one frame after the other."""

    predictor: Predictor
    detector: Detector
    options: OutputOptions
    tracking: TrackingOptions
    tracker: Tracker = dataclasses.field(default_factory=Tracker)
    filters: dict[int, OneEuro] = dataclasses.field(default_factory=dict)

    def find(
        self, frame: UInt8[np.ndarray, "h w 3"], index: int, time_s: float
    ) -> tuple[PoseResult, Int[np.ndarray, " n"]]:
        """The poses of a frame, and their track ids."""
        result = self._poses(frame, index)
        result = result.without_duplicates() if self.options.suppress else result
        ids = self.tracker.update(result)
        if not self.tracking.smooth:
            return result, ids
        self.filters = {i: self.filters.get(i, OneEuro()) for i in self.tracker.ids}
        keypoints = [
            self.filters[int(i)](points, time_s, float(area_px) ** 0.5)
            for i, points, area_px in zip(ids, result.keypoints, result.areas_px, strict=True)
        ]
        return dataclasses.replace(result, keypoints=np.array(keypoints).reshape(result.keypoints.shape)), ids

    def _poses(self, frame: UInt8[np.ndarray, "h w 3"], index: int) -> PoseResult:
        if index % self.tracking.detect_every:
            (result,) = self.predictor(frame, self.tracker.boxes(), box_threshold=0.0)
            if len(result):
                return dataclasses.replace(result, left_out=())  # boxes of people who left the frame
        (result,) = self.predictor(frame, self.detector, box_threshold=self.options.box_threshold)
        return result


class _Film:
    """A video file that appears when it is complete."""

    def __init__(self, path: Path, fps: float):
        self._path = path
        self._partial = path.with_name(f"partial-{path.name}")
        self._fps = fps
        self._writer: Any = None

    def add(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial), codec, self._fps, frame.shape[1::-1])
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
            os.replace(self._partial, self._path)


def _frames(capture: Any) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """RGB frames, the next one decoded while one is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(capture.read)
        while True:
            there, frame = coming.result()
            if not there:
                return
            coming = pool.submit(capture.read)
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _drawn(result: PoseResult, ids: Int[np.ndarray, " n"], threshold: float) -> UInt8[np.ndarray, "h w 3"]:
    picture = result.draw(threshold=threshold)
    size = max(picture.shape) / 1000
    for i, (x, y, _, _) in zip(ids, result.boxes, strict=True):
        at = max(0, round(x)) + 3, max(0, round(y)) + round(24 * size)
        cv2.putText(picture, str(i), at, cv2.FONT_HERSHEY_SIMPLEX, size, _LABEL, max(1, round(2 * size)), cv2.LINE_AA)
    return picture
