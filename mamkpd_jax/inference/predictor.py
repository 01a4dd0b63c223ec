"""Predicts poses from images and boxes with a trained model."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.reading import EXPORTED, find_model, read_artifact
from mamkpd_jax.data.functional import from_crops
from mamkpd_jax.data.transforms import eval_crop_of
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.batching import MicroBatcher
from mamkpd_jax.inference.boxes import Boxes, Detector, as_boxes, valid_boxes
from mamkpd_jax.inference.crops import CropHeatmaps, Crops
from mamkpd_jax.inference.detectors import AUTO, find_detector
from mamkpd_jax.inference.engine import Batch
from mamkpd_jax.inference.images import Image, is_one_image, name_of, read, reread_from
from mamkpd_jax.inference.jax_engine import JaxEngine
from mamkpd_jax.inference.onnx_engine import RUNTIMES, OnnxEngine
from mamkpd_jax.inference.results import PoseResult

_READ_THREADS = 4

# Boxes [n, 4] of an image, a pair of boxes and their scores [n], a detector, or a name for `find_detector`.
BoxesOf = Any


class Predictor:
    """Predicts the keypoints of the people or animals in boxes of images.

    JAX compiles the network on first use for two shapes: one crop, and `batch_size` crops. Incomplete batches are
    padded. The compiled programs are cached in the user's cache folder, unless JAX has a folder for them
    (JAX_COMPILATION_CACHE_DIR). onnxruntime compiles nothing.

    Args:
        model: an artifact, which JAX runs, or the path of an ONNX file of `mamkpd export`.
        flip_test: whether to average each crop's prediction with that of its mirror image; None: as the model was
            evaluated, or as the file was exported.
        batch_size: the number of crops in a full batch. A static batch size of an exported file takes precedence.
        upright: whether to apply the rotation in a file's EXIF data. Points and boxes refer to the image as it was
            read; use False if the labels refer to the stored pixels.
        runtime: what runs an exported file, one of `onnx_engine.RUNTIMES`; None: onnxruntime.

    Raises:
        UserError: the batch size is not positive, an artifact is given a runtime, or an exported file can't be used
            (see `OnnxEngine`).
    """

    def __init__(
        self,
        model: Artifact | Path,
        *,
        flip_test: bool | None = None,
        batch_size: int = 8,
        upright: bool = True,
        runtime: str | None = None,
    ):
        if batch_size < 1:
            raise UserError(f"the batch size is {batch_size}; expected at least 1")
        if isinstance(model, Path):
            runtime = runtime or RUNTIMES[0]
            self._engine = OnnxEngine(model, flip_test=flip_test, batch_size=batch_size, runtime=runtime)
        elif runtime:
            raise UserError(f"the runtime {runtime!r} is for .onnx files; export the model to one, or give no runtime")
        else:
            self._engine = JaxEngine(model, flip_test=flip_test, batch_size=batch_size)
        self.batch_size = self._engine.batch_size
        described = self._engine.model
        self.config, self.skeleton, self.step = described.config, described.skeleton, described.step
        self._upright = upright
        self._detectors: dict[str, Detector] = {}  # a cache, by name
        self._detectors_lock = threading.Lock()
        self._crop = eval_crop_of(self.config, self.skeleton)

    @classmethod
    def from_pretrained(
        cls, source: str | Path = "people", *, best: bool = False, ema: bool = True, **options: Any
    ) -> "Predictor":
        """A predictor with the weights of a named model, a training run's folder or a file.

        Args:
            source: "people" or "animals", which come with the package, a name from `mamkpd models --add`, an address
                hf://OWNER/NAME, a training run's folder, a .safetensors, .pth or .pt file, or an .onnx file of
                `mamkpd export`.
            best: for a run's folder: use the checkpoint with the best evaluation, not the newest.
            ema: for a run's folder: use the moving average of the parameters, if the run has one.
            options: those of `Predictor`.

        Raises:
            UserError: there are no weights, or as in `Predictor`.
        """
        path = find_model(source, best=best, ema=ema, exported=True)
        is_exported = path.suffix == EXPORTED and path.is_file()
        return cls(path if is_exported else read_artifact(path, best=best, ema=ema), **options)

    def __call__(
        self, images: Image | Sequence[Image], boxes: BoxesOf = AUTO, *, box_threshold: float | None = None
    ) -> list[PoseResult]:
        """The poses of each image.

        Args:
            images: one or a list of images. An image is a path; an http:// or https:// address; the bytes of a picture
                file; a PIL image; or an array [h, w] or [h, w, 1, 3 or 4], gray, RGB or RGBA, of uint8, uint16, bool,
                or float from 0 to 1. Gray is repeated, alpha is left out, and 16 bits keep their upper 8.
            boxes: a detector: "nanodet" (the package's), "whole" (the whole image is the box), "auto" (nanodet if the
                model is for people or animals, else whole), the .onnx file of one, or any function from an image to
                boxes and scores. Or the boxes of the image, or a list with those of each image: [n, 4] as x, y, width,
                height in pixels, or (boxes, scores). Boxes should fit tightly: a crop is 1.25 times as wide and high,
                and one side grows to the aspect ratio of the network's input.
            box_threshold: leave out boxes with a lower score, and invalid boxes: with NaN, without area, or outside the
                image. None: accept every score, and raise for an invalid box.

        Raises:
            UserError: an image can't be read or is animated, or a box is invalid. `stream` continues after it.
        """
        one = is_one_image(images)
        several = [images] if one else list(images)
        of_each = (
            [boxes] * len(several)
            if one or boxes is None or isinstance(boxes, str | Path) or callable(boxes)
            else [*boxes]
        )
        if len(of_each) != len(several):
            raise UserError(f"there are {len(several)} images but boxes for {len(of_each)}; give boxes for each image")
        results = []
        for result in self.stream(zip(several, of_each, strict=True), box_threshold=box_threshold):
            if isinstance(result, UserError):
                raise result
            results.append(result)
        return results

    def stream(
        self, images: Iterable[tuple[Image, BoxesOf]], *, box_threshold: float | None = None, keep_pixels: bool = False
    ) -> Iterator[PoseResult | UserError]:
        """The poses of images, one by one and in order. Images and boxes are as in `__call__`.

        Threads read a few images ahead while the device predicts, so memory does not grow with the number of images.

        Args:
            box_threshold: as in `__call__`.
            keep_pixels: whether a result's `image` is the pixels, so that drawing need not read the file again.

        Yields:
            The poses of an image, or the error of an image that can't be read or has an invalid box.
        """
        waiting: deque[Crops | UserError] = deque()  # for their poses
        crops: list[np.ndarray] = []  # not yet in a batch
        running: deque[tuple[Any, Any, int]] = deque()
        found: deque[tuple[np.ndarray, np.ndarray]] = deque()  # points and scores, not yet assigned to images
        started = False

        def load(image: Image, boxes: BoxesOf) -> Crops | UserError:
            try:
                return self.crops(image, boxes, box_threshold=box_threshold, keep_pixels=keep_pixels)
            except UserError as error:
                return error

        with ThreadPoolExecutor(_READ_THREADS) as pool:
            for image in _ahead(pool, load, images, _READ_THREADS + self.batch_size):
                waiting.append(image)
                crops += [] if isinstance(image, UserError) else list(image.images)
                while len(crops) >= self.batch_size:
                    running.append(self._start(crops[: self.batch_size]))
                    started = True
                    del crops[: self.batch_size]
                while len(running) > 1:
                    found.extend(_finished(*running.popleft()))
                yield from self._complete(waiting, found)
        if crops:
            running.append(self._start(crops, alone=len(crops) == 1 and not started))
        for batch in running:
            found.extend(_finished(*batch))
        yield from self._complete(waiting, found)

    def heatmaps(self, image: Image, boxes: BoxesOf = AUTO, *, box_threshold: float | None = None) -> CropHeatmaps:
        """The poses of an image, and the crops and heatmaps (after the flip test) that they are decoded from.

        For a head without heatmaps, or a file exported with --decode, each joint's map is 1x1 and 0.

        Raises:
            UserError: as in `__call__`.
        """
        crops = self.crops(image, boxes, box_threshold=box_threshold)
        maps, found = [], []
        for i in range(0, len(crops.images), self.batch_size):
            part = crops.images[i : i + self.batch_size]
            outputs = self.network(part)
            found += _finished(*self._engine.decode(outputs), len(part))
            maps.append(np.asarray(self._engine.maps(outputs))[: len(part)])
        none = np.zeros((0, 1, 1, self.skeleton.n_joints), np.float32)
        return CropHeatmaps(self.result(crops, found), crops.images, np.concatenate(maps) if maps else none)

    def weights_digest(self) -> str:
        """SHA-256 of the weights, skeleton and config except the flip test, or of the exported file and its runtime."""
        return self._engine.digest()

    def network(self, crops: Batch) -> Any:
        """The head's outputs for at most `batch_size` crops and their padding; may return before the device is done.

        For a file exported with --decode, they are keypoints and scores.
        """
        return self._engine.outputs(crops)

    def crops(
        self, image: Image, boxes: BoxesOf = AUTO, *, box_threshold: float | None = None, keep_pixels: bool = False
    ) -> Crops:
        """The crops of an image, which are the network's input; the options are those of `stream`.

        Raises:
            UserError: as in `__call__`.
        """
        pixels = read(image, upright=self._upright)
        try:
            threshold = -np.inf if box_threshold is None else box_threshold
            found, left_out = valid_boxes(self._boxes(pixels, boxes), pixels.shape[:2], threshold)
            if left_out and box_threshold is None:
                raise UserError(left_out[0])
        except UserError as error:
            raise UserError(f"{name_of(image)}: {error}") from error
        crops = self._crop.of_boxes(pixels, found.xywh)
        kept = pixels if keep_pixels else reread_from(image, pixels)
        return Crops(*crops, found, left_out, pixels.shape[:2], kept)

    def result(self, crops: Crops, found: Sequence[tuple[np.ndarray, np.ndarray]]) -> PoseResult:
        """The poses of an image from its crops, and each crop's points [j, 2] in pixels of the crop and scores [j]."""
        n_joints = self.skeleton.n_joints
        points, areas_px = from_crops(
            np.array([points for points, _ in found], np.float64).reshape(-1, n_joints, 2),
            crops.matrices,
            self._crop.input_hw,
            udp=self._crop.udp,
        )
        return PoseResult(
            keypoints=points,
            scores=np.array([scores for _, scores in found], np.float64).reshape(-1, n_joints),
            boxes=crops.boxes.xywh,
            box_scores=crops.boxes.scores,
            areas_px=areas_px,
            image_hw=crops.image_hw,
            skeleton=self.skeleton,
            image=crops.image,
            upright=self._upright,
            left_out=crops.left_out,
        )

    def batcher(self, *, max_wait_ms: float, observe: Callable[[int], Any] = lambda _: None) -> MicroBatcher:
        """A warmed-up `MicroBatcher`, which runs the crops of many callers in batches of `batch_size`."""
        return MicroBatcher(self._engine, max_wait_ms=max_wait_ms, observe=observe)

    def _boxes(self, image: UInt8[np.ndarray, "h w 3"], boxes: BoxesOf) -> Boxes:
        if isinstance(boxes, str | Path):
            boxes = self._detector(str(boxes))
        if callable(boxes):
            boxes = boxes(image)
        if boxes is None:
            raise UserError("the boxes are None; give 'nanodet', 'whole', or x, y, width, height for each")
        return as_boxes(*boxes) if isinstance(boxes, tuple) and len(boxes) == 2 else as_boxes(boxes)

    def _detector(self, name: str) -> Detector:
        """The detector with this name, created once although several threads may ask for it."""
        with self._detectors_lock:
            if name not in self._detectors:
                self._detectors[name] = find_detector(name, self.skeleton)
            return self._detectors[name]

    def _start(self, crops: Sequence[UInt8[np.ndarray, "h w 3"]], *, alone: bool = False) -> tuple[Any, Any, int]:
        """Sends a batch to the device, and returns the arguments of `_finished`, which may not be computed yet."""
        points, scores = self._engine.predict(np.stack(crops), alone=alone)
        return points, scores, len(crops)

    def _complete(self, waiting: deque, found: deque) -> Iterator[PoseResult | UserError]:
        """Removes the images whose poses are complete from the queues, and yields their results."""
        while waiting and (isinstance(waiting[0], UserError) or len(waiting[0].images) <= len(found)):
            crops = waiting.popleft()
            if isinstance(crops, UserError):
                yield crops
            else:
                yield self.result(crops, [found.popleft() for _ in crops.images])


def _finished(points: Any, scores: Any, n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Waits for a batch, and yields the points and scores of its n crops without the padding."""
    return zip(np.asarray(points, np.float64)[:n], np.asarray(scores, np.float64)[:n], strict=True)


def _ahead(pool: ThreadPoolExecutor, function: Callable, items: Iterable[tuple], n: int) -> Iterator[Any]:
    """The function's results in order, computed up to `n` items ahead."""
    futures = deque()
    for item in items:
        futures.append(pool.submit(function, *item))
        if len(futures) > n:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()
