"""Predicts the poses of a picture: threads cut its crops, and the batcher runs them with those of other requests."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import anyio
import cv2
import numpy as np
from jaxtyping import Float

from mamkpd_jax import Predictor
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.batching import CropResult, MicroBatcher
from mamkpd_jax.inference.boxes import Detector, as_boxes
from mamkpd_jax.inference.crops import Crops
from mamkpd_jax.inference.images import read
from mamkpd_jax.serving.answers import Poses, as_poses
from mamkpd_jax.serving.limits import Limits, check_pixels, header_pixels
from mamkpd_jax.serving.views import heatmap_views, shown_picture

_THREADS = 4  # each may hold a picture of the maximum size


class _Prepared(NamedTuple):
    crops: Crops
    left_out: int
    picture: str | None


class PoseService:
    """A predictor with its batcher and detector, for concurrent requests.

    Args:
        detector: finds the boxes if a request has none.
    """

    def __init__(self, predictor: Predictor, batcher: MicroBatcher, detector: Detector, limits: Limits):
        self.predictor, self.batcher, self.limits = predictor, batcher, limits
        self._detector = detector
        self._threads = anyio.CapacityLimiter(_THREADS)

    def warm_up(self) -> None:
        """Runs the detector once; the batcher is already warmed up."""
        blank = np.zeros((*self.predictor.config.data.input_hw, 3), np.uint8)
        self._prepare(cv2.imencode(".png", blank)[1].tobytes(), None, False)

    async def poses(self, data: bytes, boxes: Float[np.ndarray, "n 4"] | None, *, heatmaps: bool) -> Poses:
        """The poses in the given boxes of a picture, or in the best boxes that the detector finds.

        Args:
            data: the picture's file.
            boxes: x, y, width, height in pixels; None: the detector's.
            heatmaps: whether the response has the heatmap pictures for the page.

        Raises:
            UserError: the file is not a picture or is too large, or a box is invalid.
        """
        prepared = await anyio.to_thread.run_sync(self._prepare, data, boxes, heatmaps, limiter=self._threads)
        futures = self.batcher.submit(prepared.crops.images, maps=heatmaps)
        found = await asyncio.gather(*map(asyncio.wrap_future, futures))
        if not heatmaps:
            return self._answer(prepared, found)
        return await anyio.to_thread.run_sync(self._answer, prepared, found, limiter=self._threads)

    def _prepare(self, data: bytes, boxes: Float[np.ndarray, "n 4"] | None, heatmaps: bool) -> _Prepared:
        check_pixels(header_pixels(data), self.limits)
        try:
            image = read(data, upright=True)
        except UserError as error:
            line = str(error).replace("the image", "The file", 1)
            raise UserError(f"{line}. Choose a JPEG, PNG or WebP picture.") from error
        check_pixels(image.shape[0] * image.shape[1], self.limits)
        left_out = 0
        if boxes is None:
            found = as_boxes(*self._detector(image))
            best = np.argsort(-found.scores, kind="stable")[: self.limits.max_boxes]
            left_out = len(found.scores) - len(best)
            crops = self.predictor.crops(image, (found.xywh[best], found.scores[best]), box_threshold=0.0)
        else:
            crops = self.predictor.crops(image, boxes)
        picture = shown_picture(data, image) if heatmaps else None
        return _Prepared(crops._replace(image=None), left_out, picture)  # frees the pixels while the crops wait

    def _answer(self, prepared: _Prepared, found: Sequence[CropResult]) -> Poses:
        crops = prepared.crops
        result = self.predictor.result(crops, [(each.points, each.scores) for each in found])
        pairs = zip(crops.images, found, strict=True)
        views = [heatmap_views(crop, each.maps) for crop, each in pairs if each.maps is not None]
        return as_poses(result, left_out=prepared.left_out, picture=prepared.picture, heatmaps=views or None)
