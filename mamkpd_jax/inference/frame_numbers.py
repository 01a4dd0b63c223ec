"""Numbers a video's frames by its packets, so that frames after a lost one keep their numbers."""

import heapq
import re
from typing import Any, NamedTuple

# Formats without a packet index. Damage removes packets there, which only a gap in the times reveals.
_UNLISTED = ("matroska,webm", "mpegts", "mpeg")
_REGULAR = 4  # the frame rate counts as constant with at least this many equal intervals per different one
_MATROSKA_HEADERS = 128  # the most header bytes between two packets
_AVI_HEADER = 8  # bytes between the position in an AVI's index and the packet
_VP8_SHOWN = 0x10  # bit in a packet's first byte: the frame is shown


class _Packet(NamedTuple):
    ticks: int
    pts: int | None
    is_damaged: bool


class FrameNumbers:
    """Assigns a number and a time to each decoded picture of an open video.

    Each packet announces a frame. Decoders return pictures in the order of their times, so a picture's time shows which
    earlier packets gave no picture. Times are in ticks of the stream's time_base.

    Attributes:
        announced: the number of frames that the file should have, or None if it is unknown.
    """

    def __init__(self, container: Any, stream: Any):
        name, rate, time_base = container.format.name, stream.guessed_rate, stream.time_base
        self._interval = float(1 / (rate * time_base)) if rate and time_base else 1.0  # from frame to frame
        self._fills_gaps = name in _UNLISTED and container.duration is not None
        self._is_matroska = name == "matroska,webm"
        self._is_vp8 = stream.codec_context.name == "vp8"
        self._trusts_flags = name != "mpegts"  # it flags undamaged packets next to lost ones too
        self._end = _duration_s(stream) / float(time_base) if self._fills_gaps else 0.0
        # MP4's index leaves out what an edit list cuts.
        listed = len(stream.index_entries) if name.startswith("mov") and stream.frames else stream.frames
        self.announced: int | None = listed or round(self._end / self._interval) or None
        self._waiting: list[_Packet] = []  # a heap of packets without a picture so far
        self._offset, self._dts = 0, None  # for times that restart
        self._number, self._placed = -1, None  # the last frame's number and ticks
        self._n_equal = self._n_other = 0  # intervals that match the frame rate, and others
        self._is_damaged = False
        self._end_byte: int | None = None

    def skim(self, packet: Any) -> None:
        """Checks a packet of any stream of the file for signs of damage."""
        if packet.size and packet.pos is not None:
            is_gap = self._is_matroska and self._end_byte and packet.pos > self._end_byte + _MATROSKA_HEADERS
            self._is_damaged = bool(self._is_damaged or is_gap)
            self._end_byte = packet.pos + packet.size
        self._is_damaged = self._is_damaged or packet.is_corrupt

    def expect(self, packet: Any) -> None:
        """Registers a packet before it is decoded."""
        is_empty = not packet.size and packet.pts is not None  # the previous picture is shown longer
        if packet.is_discard or is_empty:  # discarded: hidden by an edit list
            self.announced = self.announced and self.announced - 1
        elif packet.size and (not self._is_vp8 or bytes(packet)[0] & _VP8_SHOWN):
            ticks = self._ticks_of(packet)
            if ticks is not None:
                is_damaged = packet.is_corrupt and self._trusts_flags
                heapq.heappush(self._waiting, _Packet(ticks, packet.pts, is_damaged))
        else:  # no more packets
            last = max((waiting.ticks for waiting in self._waiting), default=self._placed or 0)
            self._is_damaged = self._is_damaged or self._ends_early(last)

    def drop(self, packet: Any) -> None:
        """Registers that a packet can't be decoded."""
        self._is_damaged = True  # the times of later pictures show which frame is lost

    def place(self, decoded: Any) -> tuple[int, int] | None:
        """The number and ticks of a decoded picture; None if it is damaged or comes too late."""
        is_damaged = decoded.is_corrupt
        self._is_damaged = self._is_damaged or is_damaged
        ticks = self._ticks_from(decoded)
        if ticks is None:
            return None
        while self._waiting and self._waiting[0].ticks < ticks:
            self._advance(heapq.heappop(self._waiting).ticks)
        if self._waiting and self._waiting[0].ticks == ticks:
            is_damaged = heapq.heappop(self._waiting).is_damaged or is_damaged
        self._advance(ticks)
        return None if is_damaged else (self._number, ticks)

    def end(self) -> int:
        """The number of frames, lost ones included, after the last packet."""
        while self._waiting:
            self._advance(heapq.heappop(self._waiting).ticks)
        if self._is_regular and self._ends_early(self._placed or 0):
            self._is_damaged = True
            self._advance(round(self._end - self._interval))
        return max(self._number + 1, 0 if self._fills_gaps else self.announced or 0)

    def _ticks_of(self, packet: Any) -> int | None:
        """A packet's time. Times that restart, as in joined recordings, continue from the earlier ones."""
        if packet.dts is not None:
            if self._dts is not None and packet.dts < self._dts:
                self._offset += self._dts + round(self._interval) - packet.dts
            self._dts = packet.dts
        return None if packet.pts is None else packet.pts + self._offset

    def _ticks_from(self, decoded: Any) -> int | None:
        """A picture's time; None if it comes too late, or mixes the remains of several packets."""
        if decoded.pts is None:
            return None if decoded.is_corrupt else self._next_ticks()
        pts = decoded.pts
        ticks = next((packet.ticks for packet in self._waiting if packet.pts == pts), pts + self._offset)
        return None if self._placed is not None and ticks < self._placed else ticks

    def _next_ticks(self) -> int:
        return self._waiting[0].ticks if self._waiting else round((self._placed or 0) + self._interval)

    def _advance(self, ticks: int) -> None:
        """Counts the frame at `ticks`, and the frames that are missing in a gap before it."""
        steps = 1
        if self._placed is not None:
            if self._counts_gaps:
                steps = max(1, round((ticks - self._placed) / self._interval))
            is_equal = abs(ticks - self._placed - self._interval) <= 1.5
            self._n_equal, self._n_other = self._n_equal + is_equal, self._n_other + (not is_equal)
        self._number += steps
        self._placed = ticks

    def _ends_early(self, last: int) -> bool:
        """Whether the file should have frames after its last one."""
        return bool(self._end) and self._end - last > 1.5 * self._interval

    @property
    def _is_regular(self) -> bool:
        return self._n_equal >= _REGULAR * self._n_other

    @property
    def _counts_gaps(self) -> bool:
        return self._fills_gaps and self._is_damaged and self._is_regular


class AviNumbers(FrameNumbers):
    """Frame numbers of AVI, which stores no times: the index numbers the packets, and pictures are assumed in order.

    Here ticks are packet numbers; `place` returns the index's times. The index leaves out frames of zero bytes.
    """

    def __init__(self, container: Any, stream: Any):
        super().__init__(container, stream)
        self._index = {entry.pos + _AVI_HEADER: n for n, entry in enumerate(stream.index_entries)}
        self._times = [entry.timestamp for entry in stream.index_entries]
        if len(self._index) > 1:  # else the index, at the end of the file, is missing
            self.announced = len(self._index)
        self._expected = self._placed = -1

    def place(self, decoded: Any) -> tuple[int, int] | None:
        placed = super().place(decoded)
        return placed and (placed[0], self._times[placed[0]] if placed[0] < len(self._times) else placed[0])

    def drop(self, packet: Any) -> None:
        if packet.size and self._waiting:
            self._waiting.remove(max(self._waiting))

    def _ticks_of(self, packet: Any) -> int:
        self._expected = self._index.get(packet.pos, self._expected + 1)
        return self._expected

    def _ticks_from(self, decoded: Any) -> int:
        if decoded.key_frame:  # earlier packets have no pictures left
            own = max((packet.ticks for packet in self._waiting if packet.pts == decoded.pts), default=0)
            self._waiting = [packet for packet in self._waiting if packet.ticks >= own]
            heapq.heapify(self._waiting)
        return self._next_ticks()

    @property
    def _counts_gaps(self) -> bool:
        return True


def _duration_s(stream: Any) -> float:
    """The duration that a Matroska file stores for a stream, or 0."""
    noted = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    return int(noted[1]) * 3600 + int(noted[2]) * 60 + float(noted[3]) if noted else 0.0
