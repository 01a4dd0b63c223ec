"""Reads video files, network streams, cameras and animated WebP pictures: frames with their numbers and times."""

import abc
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.error import ExitError, FFmpegError, InvalidDataError
from jaxtyping import UInt8

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.animations import animated_frames
from mamkpd_jax.inference.frame_numbers import AviNumbers, FrameNumbers
from mamkpd_jax.inference.sources import VideoSource

_TIMEOUT_S = 10.0  # for opening a network stream, and for each packet
_MAX_ERRORS = 1000  # errors in the file's structure that are skipped
_WEBP_FRAMES = 16  # decoded at a time


class Frame(NamedTuple):
    """A decoded frame. Frames that can't be decoded leave gaps in the numbers."""

    number: int  # from 0
    time_s: float  # since the start of the video
    duration_s: float  # 0 if unknown
    image: UInt8[np.ndarray, "h w 3"]  # RGB, upright


class VideoReader(abc.ABC):
    """An open video. Iterate over it once to get its frames.

    Attributes:
        rate: frames per second, or None if unknown.
        time_base: the unit of the frame times, in seconds.
        n_frames: how many frames are expected, or None if unknown, as for a camera. It is final after the last frame.
        broken: after the last frame: why the stream ended early, or None.
    """

    rate: Fraction | None = None
    time_base: Fraction = Fraction(1, 90_000)
    n_frames: int | None = None
    broken: str | None = None

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames in order."""


def open_video(source: VideoSource) -> VideoReader:
    """Opens a video for reading its frames.

    Raises:
        UserError: it can't be opened, or has no frames.
    """
    if isinstance(source.address, int):
        return _Camera(source)
    if isinstance(source.address, Path) and _is_webp(source.address):
        return _AnimatedWebP(source.address)
    return _Encoded(source)


def read_ahead(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Yields the same frames, and decodes the next one while the current one is processed."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, frames, None)
        while (frame := coming.result()) is not None:
            coming = pool.submit(next, frames, None)
            yield frame


class _Camera(VideoReader):
    def __init__(self, source: VideoSource):
        self._capture = cv2.VideoCapture(source.address)
        if not self._capture.isOpened():
            raise UserError(f"{source} can't be opened; check that it is connected and that no other program uses it")

    def __iter__(self) -> Iterator[Frame]:
        start = time.perf_counter()
        for number in itertools.count():
            there, image = self._capture.read()
            if not there:
                return
            yield Frame(number, time.perf_counter() - start, 0.0, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


class _AnimatedWebP(VideoReader):
    """An animated WebP, decoded by OpenCV: FFmpeg does not decode it."""

    time_base = Fraction(1, 1000)

    def __init__(self, path: Path):
        self._path = path
        self.n_frames = self._n_frames = animated_frames(path)

    def __iter__(self) -> Iterator[Frame]:
        number, time_ms = 0, 0
        data = np.frombuffer(self._path.read_bytes(), np.uint8)[None]  # one row, as WebP needs it
        while number < self._n_frames:
            there, part = cv2.imdecodeanimation(data, number, _WEBP_FRAMES)
            if not there or not len(part.frames):
                return
            for image, duration_ms in zip(part.frames, part.durations, strict=True):
                pixels = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2RGB)
                yield Frame(number, time_ms / 1000, int(duration_ms) / 1000, pixels)
                number, time_ms = number + 1, time_ms + int(duration_ms)


class _Encoded(VideoReader):
    """A file or a network stream, decoded by FFmpeg.

    Each packet announces a frame. A frame is lost if its packet gives no picture, or if one of the two is damaged.
    """

    def __init__(self, source: VideoSource):
        options = {"rtsp_transport": "tcp"} if str(source.address).startswith("rtsp") else {}
        timeout, start = _TIMEOUT_S if isinstance(source.address, str) else None, time.monotonic()
        try:
            self._container = av.open(str(source.address), options=options, timeout=timeout, metadata_errors="replace")
        except (FFmpegError, OSError) as error:
            is_late = timeout is not None and time.monotonic() - start >= timeout  # RTSP reports a timeout as bad data
            reason = f"no answer for {timeout:g} s" if is_late else _reason(error)
            raise UserError(f"{source} can't be opened as a video ({reason}); check {_to_check(source)}") from error
        self._stream: Any = self._container.streams.best("video")  # not a cover picture
        if self._stream is None:
            raise UserError(f"{source} has no video stream; give a video")
        is_avi = self._container.format.name == "avi"
        self._numbers = (AviNumbers if is_avi else FrameNumbers)(self._container, self._stream)
        # Frame threads report errors late, and AVI needs the packet of each error.
        self._stream.thread_type = "SLICE" if is_avi else "AUTO"
        self.rate = self._stream.guessed_rate
        self.time_base = self._stream.time_base or self.time_base
        self.n_frames = self._numbers.announced

    def __iter__(self) -> Iterator[Frame]:
        start = self._container.start_time if self._container.duration else None  # useless for a live stream
        zero = None if start is None else round(Fraction(start, av.time_base) / self.time_base)
        for packet in self._packets():
            self._numbers.expect(packet)
            for decoded in self._decoded(packet):
                place = self._numbers.place(decoded)
                if place is not None:
                    number, ticks = place
                    zero = ticks if zero is None else zero
                    time_s, duration_s = (float(n * self.time_base) for n in (ticks - zero, decoded.duration or 0))
                    yield Frame(number, time_s, duration_s, _upright(decoded))
        self.n_frames = self._numbers.end()

    def _packets(self) -> Iterator[Any]:
        """The packets of the video; damaged parts of the file's structure are skipped."""
        for _ in range(_MAX_ERRORS):
            try:
                for packet in self._container.demux():
                    self._numbers.skim(packet)
                    if packet.stream is self._stream:
                        yield packet
                return
            except InvalidDataError:
                continue
            except (FFmpegError, OSError) as error:
                self.broken = _reason(error)
                return

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return packet.decode()
        except FFmpegError:
            self._numbers.drop(packet)
            return []


def _upright(decoded: Any) -> UInt8[np.ndarray, "h w 3"]:
    """The picture as RGB, rotated and mirrored by the video's display matrix."""
    image = decoded.to_ndarray(format="rgb24")
    noted = decoded.side_data.get("DISPLAYMATRIX")
    if noted is None:
        return image
    # The display shows (x, y) at (a x + c y, b x + d y), up to a shift.
    a, b, _, c, d = np.frombuffer(noted, np.int32)[:5]
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _is_webp(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(b"RIFF") and head[8:] == b"WEBP"


def _reason(error: Exception) -> str:
    """The error's text without the file name."""
    if isinstance(error, ExitError):
        return f"no data for {_TIMEOUT_S:g} s"
    return (getattr(error, "strerror", None) or str(error)).lower()


def _to_check(source: VideoSource) -> str:
    return "that it exists and is complete" if isinstance(source.address, Path) else "the address and the network"
