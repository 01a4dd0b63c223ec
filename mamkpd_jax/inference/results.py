"""The predicted poses of an image: their conversion, drawing and saving."""

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.coco_results import NMS_THRESHOLD, coco_result
from mamkpd_jax.evaluation.oks import oks_nms, rescore
from mamkpd_jax.files import atomic_write
from mamkpd_jax.inference.images import Image, read
from mamkpd_jax.skeletons import JOINT_THRESHOLD, Skeleton
from mamkpd_jax.visualize import draw_pose


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PoseResult:
    """The poses of an image, one for each box and in the boxes' order, in pixels of the image as it was read."""

    keypoints: Float[np.ndarray, "n j 2"]
    scores: Float[np.ndarray, "n j"]  # the heatmaps' peaks
    boxes: Float[np.ndarray, "n 4"]  # x, y, width, height
    box_scores: Float[np.ndarray, " n"]
    areas_px: Float[np.ndarray, " n"]  # of the crops, in pixels of the image
    image_hw: tuple[int, int]
    skeleton: Skeleton
    image: Image  # the path that it was read from, or its pixels
    upright: bool  # whether a rotation in the file's EXIF data was applied
    left_out: tuple[str, ...] = ()  # a reason for each box without a pose

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def pose_scores(self) -> Float[np.ndarray, " n"]:
        """The box's score times the mean of the joint scores above JOINT_THRESHOLD, as in COCO's results."""
        return rescore(self.box_scores, self.scores)

    def without_duplicates(self) -> "PoseResult":
        """The poses after OKS-based NMS with a threshold of 0.9, as in eval.py; best first."""
        kept = oks_nms(self.keypoints, self.pose_scores, self.areas_px, self.skeleton.sigmas, NMS_THRESHOLD)
        names = ("keypoints", "scores", "boxes", "box_scores", "areas_px")
        return dataclasses.replace(self, **{name: getattr(self, name)[kept] for name in names})

    def to_coco(self, *, image_id: int = 0, category_id: int = 1) -> list[dict[str, Any]]:
        """The poses in COCO's results format."""
        poses = zip(self.keypoints, self.scores, self.pose_scores, strict=True)
        return [coco_result(*pose, image_id=image_id, category_id=category_id) for pose in poses]

    def to_numpy(self) -> dict[str, np.ndarray]:
        """Keypoints [n, j, 2], scores [n, j], boxes [n, 4], box_scores [n], pose_scores [n] and image_hw [2]."""
        arrays = {name: getattr(self, name) for name in ("keypoints", "scores", "boxes", "box_scores", "pose_scores")}
        return arrays | {"image_hw": np.array(self.image_hw)}

    def draw(
        self,
        image: UInt8[np.ndarray, "h w 3"] | None = None,
        *,
        threshold: float = JOINT_THRESHOLD,
        label: bool = False,
    ) -> UInt8[np.ndarray, "h w 3"]:
        """A copy of the image with the poses drawn on it. The image is read again if it is not given.

        Args:
            threshold: joints with a score up to this are not drawn.
            label: whether to write the scores beside the joints.

        Raises:
            UserError: the image can't be read again, or its size differs from that of the predicted image.
        """
        image = read(self.image, upright=self.upright) if image is None else image
        if image.shape[:2] != self.image_hw:
            (found_h, found_w), (height, width) = image.shape[:2], self.image_hw
            raise UserError(
                f"the image has {found_w}x{found_h} pixels, but the poses are from one of {width}x{height}; give the "
                "image that they were predicted from"
            )
        picture = image.copy()
        for joints in np.concatenate([self.keypoints, self.scores[..., None]], axis=-1):
            draw_pose(picture, joints, self.skeleton, threshold=threshold, label="score" if label else "")
        return picture

    def save(self, path: str | Path, image: UInt8[np.ndarray, "h w 3"] | None = None, **options: Any) -> None:
        """Draws the poses and writes the picture atomically; `options` are those of `draw`.

        Raises:
            UserError: OpenCV writes no pictures with this suffix, or as in `draw`.
            OSError: the file can't be written.
        """
        path, picture = Path(path), cv2.cvtColor(self.draw(image, **options), cv2.COLOR_RGB2BGR)
        try:
            encoded = cv2.imencode(path.suffix, picture)[1]
        except cv2.error as error:
            raise UserError(f"{path} can't be written; expected a suffix such as .jpg or .png") from error
        with atomic_write(path) as temporary:
            temporary.write_bytes(encoded.tobytes())  # cv2.imwrite crashes on names that are not Unicode


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Where predictions are written, and which are kept and drawn."""

    output: Path
    category_id: int = 1  # of the results
    box_threshold: float = 0.3  # boxes with a lower score are left out
    suppress: bool = True  # keep only the best of poses that are nearly the same
    draw: bool = True
    joint_threshold: float = JOINT_THRESHOLD  # joints with a score up to this are not drawn
