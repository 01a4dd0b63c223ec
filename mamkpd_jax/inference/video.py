"""Poses of a video or a camera, frame by frame, with track ids.

OUTPUT/poses.jsonl gets a line for each frame while the video is processed, so that a crash loses nothing: 'frame'
(counted from 0), 'time_s' and 'poses'. At the end OUTPUT/results.json has all poses in COCO's results format. Their
image_id is the frame's number, and they have 'frame', 'time_s' and 'track_id' too. OUTPUT/NAME.mp4 shows the poses;
until the end it is OUTPUT/NAME.unfinished.mp4. Frames that can't be decoded leave gaps in the numbers.
"""

import dataclasses
import itertools
import time
from typing import Any

import cv2
import numpy as np
from absl import logging
from jaxtyping import Int, UInt8
from tqdm import tqdm

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import Detector
from mamkpd_jax.inference.detector_classes import subject
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.inference.results import OutputOptions, PoseResult
from mamkpd_jax.inference.smoothing import OneEuro
from mamkpd_jax.inference.sources import VideoSource
from mamkpd_jax.inference.tracking import Tracker
from mamkpd_jax.inference.video_output import VideoOutput
from mamkpd_jax.inference.video_reader import Frame, VideoReader, open_video, read_ahead

_LABEL = (255, 255, 255)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrackingOptions:
    """How people or animals are tracked from frame to frame."""

    detect_every: int = 1  # run the detector in every Nth frame; in between, boxes follow the last poses
    smooth: bool = False  # smooth the joints with the One-Euro filter
    max_frames: int | None = None  # None: all


def predict_video(
    predictor: Predictor, source: VideoSource, detector: Detector, options: OutputOptions, tracking: TrackingOptions
) -> list[str]:
    """Predicts the frames of a video, or of a camera until Ctrl-C.

    Returns:
        A line for each invalid box, and for lost frames.

    Raises:
        UserError: the video can't be opened or has no frames, or the output folder has files that are not replaced.
    """
    video = open_video(source)
    people = _People(predictor, detector, options, tracking)
    wrong, tracks, finished_s, next_number = [], set(), [], 0
    counts = [count for count in (tracking.max_frames, video.n_frames) if count is not None]
    frames = itertools.islice(read_ahead(iter(video)), tracking.max_frames)
    with VideoOutput(options.output, source, video) as output:
        try:
            for frame in tqdm(frames, total=min(counts, default=None), unit="frame", disable=None):
                wrong += _lost(source, next_number, frame.number)
                next_number = frame.number + 1
                result, ids = people.find(frame)
                wrong += [f"{source}, frame {frame.number}: {reason}; it was left out" for reason in result.left_out]
                output.add(frame, _rows(frame, result, ids, options.category_id), _drawn(result, ids, options))
                tracks.update(ids.tolist())
                finished_s.append(time.perf_counter())
        except KeyboardInterrupt:
            logging.info("stopped after %d frames", len(finished_s))
        else:
            if len(finished_s) != tracking.max_frames:
                wrong += _missing_end(source, next_number, video)
        if not finished_s:
            reason = f" ({video.broken})" if video.broken else ""
            raise UserError(f"{source} has no frame that can be decoded{reason}; copy the file again")
        output.finish()
    print(f"{source}: {len(finished_s)} frames, {subject(predictor.skeleton, len(tracks))} found")
    if len(finished_s) > 1:  # the first frame includes compilation
        rate = (len(finished_s) - 1) / (finished_s[-1] - finished_s[0])
        logging.info("%d frames, %.1f frames a second after the first", len(finished_s), rate)
    return wrong


@dataclasses.dataclass(slots=True)
class _People:
    """Finds the poses and track ids of people, frame by frame."""

    predictor: Predictor
    detector: Detector
    options: OutputOptions
    tracking: TrackingOptions
    tracker: Tracker = dataclasses.field(default_factory=Tracker)
    filters: dict[int, OneEuro] = dataclasses.field(default_factory=dict)
    next_number: int = 0  # the number of the next frame if none is lost
    undetected: int = 0  # frames since the detector ran

    def find(self, frame: Frame) -> tuple[PoseResult, Int[np.ndarray, " n"]]:
        """The poses of a frame, and their track ids."""
        result = self._poses(frame)
        result = result.without_duplicates() if self.options.suppress else result
        ids = self.tracker.follow(result) if self.undetected else self.tracker.update(result)
        if not self.tracking.smooth:
            return result, ids
        self.filters = {i: self.filters.get(i, OneEuro()) for i in self.tracker.ids}
        keypoints = [
            self.filters[int(i)](points, frame.time_s, float(area_px) ** 0.5)
            for i, points, area_px in zip(ids, result.keypoints, result.areas_px, strict=True)
        ]
        return dataclasses.replace(result, keypoints=np.array(keypoints).reshape(result.keypoints.shape)), ids

    def _poses(self, frame: Frame) -> PoseResult:
        adjoins, self.next_number = frame.number == self.next_number, frame.number + 1
        self.undetected += 1
        if adjoins and frame.number and self.undetected < self.tracking.detect_every:
            (result,) = self.predictor(frame.image, self.tracker.boxes(), box_threshold=0.0)
            if len(result):
                return dataclasses.replace(result, left_out=())  # boxes of people who left the frame
        self.undetected = 0
        (result,) = self.predictor(frame.image, self.detector, box_threshold=self.options.box_threshold)
        return result


def _rows(frame: Frame, result: PoseResult, ids: Int[np.ndarray, " n"], category_id: int) -> list[dict[str, Any]]:
    """The poses in COCO's results format, with the frame, its time and the track ids."""
    more = {"frame": frame.number, "time_s": round(frame.time_s, 6)}
    poses = result.to_coco(image_id=frame.number, category_id=category_id)
    return [{**pose, **more, "track_id": int(i)} for pose, i in zip(poses, ids, strict=True)]


def _lost(source: VideoSource, first: int, end: int) -> list[str]:
    """A line that names the lost frames, from `first` to `end - 1`; empty if none are lost."""
    if first >= end:
        return []
    frames = f"frame {first}" if end - first == 1 else f"frames {first} to {end - 1}"
    return [f"{source}: {frames} can't be decoded; the video is damaged or incomplete"]


def _missing_end(source: VideoSource, next_number: int, video: VideoReader) -> list[str]:
    """A line about the frames that are missing at the end; empty if none are."""
    broken = [f"{source} broke off after frame {next_number - 1} ({video.broken})"] if video.broken else []
    return broken or _lost(source, next_number, video.n_frames or 0)


def _drawn(result: PoseResult, ids: Int[np.ndarray, " n"], options: OutputOptions) -> UInt8[np.ndarray, "h w 3"] | None:
    if not options.draw:
        return None
    picture = result.draw(threshold=options.joint_threshold)
    size = max(picture.shape) / 1000
    for i, (x, y, _, _) in zip(ids, result.boxes, strict=True):
        at = max(0, round(x)) + 3, max(0, round(y)) + round(24 * size)
        cv2.putText(picture, str(i), at, cv2.FONT_HERSHEY_SIMPLEX, size, _LABEL, max(1, round(2 * size)), cv2.LINE_AA)
    return picture
