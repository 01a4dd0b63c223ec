"""Numbers and times of a video's frames, by the packets that announce them, so that lost frames keep their numbers."""

import heapq
import re
from typing import Any, NamedTuple

# Formats without a list of their packets: a damaged place swallows packets, which a gap between times shows.
_UNLISTED = ("matroska,webm", "mpegts", "mpeg")
_REGULAR = 4  # equal intervals between frames, for each other one, show a constant rate
_AVI_HEADER = 8  # bytes from the place that an AVI's index gives to the packet
_MATROSKA_HEADERS = 128  # bytes at most between two packets
_VP8_SHOWN = 0x10  # in the first byte of a packet


class _Packet(NamedTuple):
    ticks: int
    pts: int | None
    is_damaged: bool


class FrameNumbers:
    """Which frame of an open video a decoded picture is.

    Decoders return pictures in the order of their times, so that a picture's time shows which packets gave none. AVI
    stores no times: its packets are numbered by the file's index, and its pictures are taken to be in order.

    Attributes:
        announced: the frames that the file should have, or None.
    """

    def __init__(self, container: Any, stream: Any):
        name = container.format.name
        self.is_avi = name == "avi"
        self._index = (
            {entry.pos + _AVI_HEADER: n for n, entry in enumerate(stream.index_entries)} if self.is_avi else {}
        )
        self._is_vp8 = stream.codec_context.name == "vp8"
        rate = stream.guessed_rate
        self._interval = float(1 / (rate * stream.time_base)) if rate and stream.time_base else 1.0  # ticks a frame
        self._fills_gaps = name in _UNLISTED and container.duration is not None
        self._end = _duration_s(stream) / float(stream.time_base) if self._fills_gaps else 0.0
        listed = len(stream.index_entries) if name.startswith("mov") and stream.frames else stream.frames
        self.announced: int | None = listed or round(self._end / self._interval) or None
        self._waiting: list[_Packet] = []  # a heap of those without a picture
        self._offset = 0  # of times that begin anew
        self._dts: int | None = None
        self._expected = -1  # of AVI
        self._placed = -1 if self.is_avi else None
        self._number = -1
        self._n_equal = self._n_other = 0  # intervals
        self._damaged = False
        self._is_matroska = name == "matroska,webm"
        self._trusts_flags = name != "mpegts"  # which flags whole packets beside lost ones too
        self._end_byte: int | None = None

    def skim(self, packet: Any) -> None:
        """Notes a packet of any stream of the file, for signs of damage."""
        if not packet.size:
            return
        lacks = self._is_matroska and self._end_byte and packet.pos - self._end_byte > _MATROSKA_HEADERS
        self._damaged = self._damaged or packet.is_corrupt or bool(lacks)
        self._end_byte = (packet.pos or 0) + packet.size

    def expect(self, packet: Any) -> None:
        """Notes a packet that is about to be decoded."""
        if packet.is_discard and self.announced:  # an edit list hides its picture
            self.announced -= 1
        hidden = packet.is_discard or (self._is_vp8 and packet.size and not bytes(packet)[0] & _VP8_SHOWN)
        if not packet.size or hidden:
            return
        ticks = self._index.get(packet.pos, self._expected + 1) if self.is_avi else self._continued(packet)
        if ticks is not None:
            self._expected = ticks
            heapq.heappush(self._waiting, _Packet(ticks, packet.pts, packet.is_corrupt and self._trusts_flags))

    def drop(self, packet: Any) -> None:
        """Notes that a packet can't be decoded."""
        self._damaged = True
        if self.is_avi and packet.size and self._waiting:  # elsewhere the times of later pictures tell
            self._waiting.remove(max(self._waiting))

    def place(self, decoded: Any) -> tuple[int, int] | None:
        """The number and the ticks of a decoded picture; None for one that is damaged or comes too late."""
        pts, is_damaged = decoded.pts, decoded.is_corrupt
        self._damaged = self._damaged or is_damaged
        if self.is_avi or (pts is None and not is_damaged):
            ticks = self._waiting[0].ticks if self._waiting else round((self._placed or 0) + self._interval)
        elif pts is None:  # made of what is left of several packets
            return None
        else:
            ticks = next((packet.ticks for packet in self._waiting if packet.pts == pts), pts + self._offset)
            if self._placed is not None and ticks < self._placed:
                return None
        while self._waiting and self._waiting[0].ticks < ticks:
            self._advance(heapq.heappop(self._waiting).ticks)
        if self._waiting and self._waiting[0].ticks == ticks:
            is_damaged = heapq.heappop(self._waiting).is_damaged or is_damaged
        self._advance(ticks)
        return None if is_damaged else (self._number, ticks)

    def end(self) -> int:
        """The number of frames that there were or should have been."""
        while self._waiting:
            self._advance(heapq.heappop(self._waiting).ticks)
        if self._is_regular and self._end - (self._placed or 0) > 1.5 * self._interval:
            self._damaged = True
            self._advance(round(self._end - self._interval))
        return max(self._number + 1, 0 if self._fills_gaps else self.announced or 0)

    def _continued(self, packet: Any) -> int | None:
        """A packet's time in ticks; where the times begin anew, as in joined recordings, they continue the earlier."""
        if packet.dts is not None:
            if self._dts is not None and packet.dts < self._dts:
                self._offset += self._dts + round(self._interval) - packet.dts
            self._dts = packet.dts
        return None if packet.pts is None else packet.pts + self._offset

    def _advance(self, ticks: int) -> None:
        """Counts the frame at a time, and those that a gap before it lacks."""
        steps = 1
        if self._placed is not None:
            steps = max(1, round((ticks - self._placed) / self._interval))
            is_equal = abs(ticks - self._placed - self._interval) <= 1.5
            self._n_equal, self._n_other = self._n_equal + is_equal, self._n_other + (not is_equal)
        counts_gap = self.is_avi or (self._fills_gaps and self._damaged and self._is_regular)
        self._number += steps if counts_gap else 1
        self._placed = ticks

    @property
    def _is_regular(self) -> bool:
        return self._n_equal >= _REGULAR * self._n_other


def _duration_s(stream: Any) -> float:
    """The duration that a Matroska file notes for one stream, or 0."""
    noted = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    return int(noted[1]) * 3600 + int(noted[2]) * 60 + float(noted[3]) if noted else 0.0
