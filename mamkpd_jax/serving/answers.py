"""The server's responses, as in its OpenAPI description."""

from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field

from mamkpd_jax.inference.results import PoseResult

_Box = Annotated[tuple[float, float, float, float], Field(description="x, y, width, height in pixels")]
_Keypoint = Annotated[tuple[float, float, float], Field(description="x and y in pixels, score from about 0 to 1")]


class Pose(BaseModel):
    """One person or animal."""

    box: _Box
    box_score: float = Field(description="The detector's score, or 1 for a box of the request")
    score: float = Field(description="The box's score times the mean of the keypoints' scores above the threshold")
    keypoints: list[_Keypoint] = Field(description="In the order of the model's keypoints")
    heatmaps: list[str] | None = Field(
        None, description="The crop under the heatmaps of all keypoints, then of each: JPEG pictures as data URLs"
    )


class Poses(BaseModel):
    """The poses of a picture, in pixels of the upright picture; the centre of the first pixel is at 0, 0."""

    width: int
    height: int
    poses: list[Pose]
    left_out: int = Field(description="Number of detected boxes beyond the limit, which have no pose")
    picture: str | None = Field(
        None, description="With heatmaps, the picture as a JPEG data URL if browsers don't show its format"
    )


class Model(BaseModel):
    """The model that runs, and the limits of a request."""

    name: str
    keypoints: list[str] = Field(description="Names of the keypoints")
    sides: list[str] = Field(description='Side of each keypoint: "left", "right" or ""')
    edges: list[tuple[int, int]] = Field(description="Pairs of keypoints that are drawn as lines")
    keypoint_threshold: float = Field(description="Keypoints with a score up to this count as not found")
    max_bytes: int
    max_pixels: int
    max_boxes: int


class Health(BaseModel):
    """The server is ready: the model is loaded and warmed up."""

    status: str = "ok"


class Problem(BaseModel):
    """Why a request was refused, in one line."""

    error: str


def as_poses(
    result: PoseResult, *, left_out: int, picture: str | None = None, heatmaps: list[list[str]] | None = None
) -> Poses:
    """The response with a picture's poses.

    Args:
        left_out: the number of detected boxes beyond the limit.
        picture: the picture as a data URL, if browsers don't show its format.
        heatmaps: each pose's heatmap pictures as data URLs.
    """
    height, width = result.image_hw
    keypoints = np.concatenate([result.keypoints, result.scores[..., None]], axis=-1)
    poses = [
        Pose(box=box, box_score=box_score, score=score, keypoints=points, heatmaps=heatmaps[i] if heatmaps else None)
        for i, (box, box_score, score, points) in enumerate(
            zip(
                result.boxes.tolist(),
                result.box_scores.tolist(),
                result.pose_scores.tolist(),
                keypoints.tolist(),
                strict=True,
            )
        )
    ]
    return Poses(width=width, height=height, poses=poses, left_out=left_out, picture=picture)
