"""Tracking: gives the poses of one person or animal the same id in all frames of a video."""

from typing import NamedTuple

import numpy as np
import scipy  # loads its submodules on first use, because they take a quarter of a second
from jaxtyping import Float, Int

from mamkpd_jax.evaluation.oks import iou, joint_similarity
from mamkpd_jax.inference.boxes import Boxes
from mamkpd_jax.inference.results import PoseResult
from mamkpd_jax.skeletons import JOINT_THRESHOLD

# Choice: a person who moves by a fifth of their height between two frames keeps a similarity of 0.32 to their track.
_MIN_SIMILARITY = 0.3
_MAX_UNSEEN_FRAMES = 30


class _Track(NamedTuple):
    id: int
    frame: int  # in which it was last seen
    box: Float[np.ndarray, "4"]
    keypoints: Float[np.ndarray, "j 2"]
    scores: Float[np.ndarray, " j"]
    area_px: float


class Tracker:
    """Matches the poses of each frame to the tracks of earlier frames.

    The similarity is the mean of the boxes' IoU and the poses' OKS. The assignment maximises the total similarity. A
    track ends after 30 frames without a pose, and its id is not reused.
    """

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._starts: dict[int, _Track] = {}  # the tracks seen in the last detection, as they were there, by id
        self._frame = 0
        self._next_id = 1

    def update(self, result: PoseResult) -> Int[np.ndarray, " n"]:
        """Adds a frame with detected boxes, and returns the track id of each of its poses."""
        similarity = np.array([self._similarity(track, result) for track in self._tracks])
        similarity = similarity.reshape(len(self._tracks), len(result))
        ids = np.zeros(len(result), np.int64)
        for row, pose in zip(*scipy.optimize.linear_sum_assignment(similarity, maximize=True), strict=True):
            if similarity[row, pose] > _MIN_SIMILARITY:
                ids[pose] = self._tracks[row].id
        new = np.flatnonzero(ids == 0)
        ids[new] = np.arange(self._next_id, self._next_id + len(new))
        self._next_id += len(new)
        self._add(result, ids)
        self._starts = {track.id: track for track in self._tracks if track.frame == self._frame}
        return ids

    def follow(self, result: PoseResult) -> Int[np.ndarray, " n"]:
        """Adds a frame whose boxes are from `boxes`, and returns the track id of each of its poses.

        Args:
            result: it may lack some of the boxes, and may have them in another order.
        """
        ids, boxes = self._moved()
        ids = ids[np.abs(result.boxes[:, None] - boxes).sum(axis=2).argmin(axis=1)] if len(result) else ids[:0]
        self._add(result, ids)
        return ids

    def _add(self, result: PoseResult, ids: Int[np.ndarray, " n"]) -> None:
        self._frame += 1
        poses = zip(ids.tolist(), result.boxes, result.keypoints, result.scores, result.areas_px, strict=True)
        seen = [_Track(track_id, self._frame, *pose) for track_id, *pose in poses]
        unseen = [track for track in self._tracks if track.id not in ids]
        self._tracks = seen + [track for track in unseen if self._frame - track.frame < _MAX_UNSEEN_FRAMES]

    @property
    def ids(self) -> set[int]:
        """The ids of the tracks that have not ended."""
        return {track.id for track in self._tracks}

    def boxes(self) -> Boxes:
        """Boxes for the next frame: those of the last detection, moved by the median displacement of the joints since.

        Only joints with scores above JOINT_THRESHOLD in both frames count; a pose without any is left out. Choice: a
        box around the joints shrinks or grows with each wrong one, which makes the next pose worse.
        """
        _, boxes = self._moved()
        return Boxes(boxes, np.ones(len(boxes)))

    def _moved(self) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 4"]]:
        """The ids and boxes of the tracks that can be followed."""
        ids, boxes = [], []
        for track in self._tracks:
            if track.frame == self._frame:
                start = self._starts[track.id]
                sure = np.minimum(track.scores, start.scores) > JOINT_THRESHOLD
                if sure.any():
                    move = np.median(track.keypoints[sure] - start.keypoints[sure], axis=0)
                    ids.append(track.id)
                    boxes.append([*(start.box[:2] + move), *start.box[2:]])
        return np.array(ids, np.int64), np.array(boxes, np.float64).reshape(-1, 4)

    def _similarity(self, track: _Track, result: PoseResult) -> Float[np.ndarray, " n"]:
        areas_px = (track.area_px + result.areas_px) / 2
        oks = joint_similarity(result.keypoints, track.keypoints, areas_px, result.skeleton.sigmas).mean(axis=1)
        return (oks + iou(result.boxes, track.box)) / 2
