"""Short real videos: a view moves over a photograph, so that all frames differ."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT = 320, 240
SHIFT_PX = 4  # per frame


def views(photo: Path, n: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[np.ndarray]:
    """The frames of a clip, RGB."""
    image = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    width, height = size
    return [np.ascontiguousarray(image[60 : 60 + height, SHIFT_PX * i : SHIFT_PX * i + width]) for i in range(n)]


def write_clip(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    rate: Fraction = Fraction(10),
    times_s: Sequence[float] | None = None,
    time_base: Fraction = Fraction(1, 1000),
    codec: str = "libx264",
    flags: str = "",
) -> Path:
    """Writes a clip with every sixth frame a key frame, at the given times or a constant rate."""
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = 6
        if codec.startswith("libvpx"):
            stream.codec_context.options = {"deadline": "realtime", "cpu-used": "8"}
        time_base = time_base if times_s else 1 / rate
        stream.codec_context.time_base = time_base
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (round(times_s[i] / time_base) if times_s else i), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Makes players of an MP4 show a frame's (x, y) at (a x + c y, b x + d y)."""
    content, matrix = bytearray(path.read_bytes()), (a, b, 0, c, d, 0, 0, 0)
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 32] = b"".join((value << 16).to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(content)
    return path


def damage(path: Path, start: float, end: float) -> Path:
    """Overwrites a part of a file with noise; `start` and `end` are fractions of its length."""
    content = bytearray(path.read_bytes())
    first, last = int(len(content) * start), int(len(content) * end)
    content[first:last] = np.random.default_rng(0).bytes(last - first)
    path.write_bytes(content)
    return path


def number_of(image: np.ndarray, frames: Sequence[np.ndarray]) -> int:
    """The index of the frame that an image shows."""
    small = image[::4, ::4].astype(int)
    return int(np.argmin([np.abs(small - frame[::4, ::4]).mean() for frame in frames]))


def decoded(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """All frames of a video file, RGB, and their times in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="rgb24") for frame in frames], [frame.time for frame in frames]
