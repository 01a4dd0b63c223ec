"""Writes videos that browsers play: H.264 in MP4, with the time of each frame."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.codec.context import Flags
from jaxtyping import UInt8

from mamkpd_jax.files import atomic_write

_FRAGMENT = 30  # frames at most in a fragment of the file; a crash loses the last fragment
_MAX_RATE = 240  # frames per second for the encoder, which derives its level from them: players refuse high levels
_MAX_TICKS = 1_000_000  # per second
_LIMITED, _BT709 = 1, 1  # FFmpeg's codes for the colour range and space, which players otherwise guess from the size


class VideoWriter:
    """Writes NAME.unfinished.mp4, which is playable after a crash too; `close` turns it into NAME.mp4.

    The first frame sets the size. A side of odd length gets one more pixel, as H.264 needs even sides. Later frames of
    another size are scaled to fit.

    Args:
        rate: frames per second, approximately.
        time_base: the unit of the frame times, in seconds.
    """

    def __init__(self, path: Path, rate: Fraction | None, time_base: Fraction):
        self._path = path
        self.unfinished = path.with_suffix(".unfinished.mp4")
        self._rate = min(rate or 30, _MAX_RATE)
        self._time_base = max(time_base, Fraction(1, _MAX_TICKS))
        self._container: Any = None
        self._stream: Any = None
        self._size = (0, 0)
        self._ticks = -1

    def add(self, image: UInt8[np.ndarray, "h w 3"], time_s: float, duration_s: float) -> None:
        """Appends an RGB frame, shown from `time_s` until the next frame; the last frame is shown for `duration_s`."""
        if self._ticks < 0:
            self._open(image.shape[1], image.shape[0])
        frame = av.VideoFrame.from_ndarray(self._fitted(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        self._ticks = max(round(time_s / self._time_base), self._ticks + 1)
        frame.pts, frame.time_base = self._ticks, self._time_base
        frame.duration = round(duration_s / self._time_base)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finishes the video, if it has a frame."""
        if self._ticks < 0:
            return
        self._container.mux(self._stream.encode())
        self._container.close()
        with atomic_write(self._path) as temporary, av.open(str(self.unfinished)) as written:
            with av.open(str(temporary), "w", options={"movflags": "faststart"}) as finished:
                stream = finished.add_stream_from_template(written.streams.video[0])
                stream.time_base = self._time_base
                for packet in written.demux(video=0):
                    if packet.size:
                        packet.stream = stream
                        finished.mux(packet)
        self.unfinished.unlink()

    def _open(self, width: int, height: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = "frag_keyframe+delay_moov+default_base_moof"
        self._container = av.open(str(self.unfinished), "w", options={"movflags": flags, "flush_packets": "1"})
        self._size = width, height
        self._stream = stream = self._container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        codec = stream.codec_context
        codec.color_range, codec.colorspace, codec.color_primaries, codec.color_trc = _LIMITED, *[_BT709] * 3
        stream.time_base = codec.time_base = self._time_base
        codec.flags |= Flags.frame_duration
        codec.gop_size = max(1, min(_FRAGMENT, int(self._rate)))  # a second at most
        # Without lookahead each frame is written at once.
        codec.options = {"preset": "veryfast", "crf": "18", "tune": "zerolatency"}

    def _fitted(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
        """The image, scaled to the first frame's size and padded to even sides."""
        (height, width), (full_width, full_height) = image.shape[:2], self._size
        border = cv2.BORDER_REPLICATE
        if (width, height) != self._size:
            border = cv2.BORDER_CONSTANT
            scale = min(full_width / width, full_height / height)
            image = cv2.resize(image, (max(1, round(width * scale)), max(1, round(height * scale))))
            height, width = image.shape[:2]
        right, bottom = self._stream.width - width, self._stream.height - height
        return cv2.copyMakeBorder(image, 0, bottom, 0, right, border)
