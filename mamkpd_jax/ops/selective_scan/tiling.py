"""Tiles a scan for the kernels, by its sizes.

Choice: by compiled instruction counts (`make kernel-report`); nothing here was timed on a GPU.
"""

import dataclasses
import math
from collections.abc import Sequence

from mamkpd_jax.ops.selective_scan.walk import Walk

# The largest rank of delta's projection inside the kernels. At rank 24 it costs 50 more instructions for 32 channels of
# a token; outside it costs three more kernels and several times the scan's bytes. At rank 48 registers spill.
_LARGEST_RANK = 32
# Above this rank, chunks of 8 tokens take three times as long to compile as those of 4, and 1.6 times the registers.
_LARGE_RANK = 12
_SCHEDULERS = 512  # an RTX 4090's; an H200 has 528. Each issues an instruction of one program a cycle.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scan:
    """A tiled scan of maps [h, w, d] with n states: all that the kernels are compiled for."""

    directions: tuple[int, ...]
    h: int
    w: int
    d: int
    n: int
    rank: int  # of the projection that makes delta in the kernel; 0: delta is given
    channels: int  # of one program
    chunk: int  # tokens that are loaded together; each chunk has a checkpoint
    batch: int = 1  # `for_batch` sets this and `segment`
    segment: int | None = None  # chunks of one program; None: the whole walk
    schedulers: int = _SCHEDULERS  # the number of programs that a small batch is cut into, at most; 0: no segments
    prefetch: bool = False  # whether a chunk is loaded before the work on the previous one
    interpret: bool = False

    @property
    def length(self) -> int:
        """Tokens of a map."""
        return self.h * self.w

    @property
    def blocks(self) -> int:
        """Programs that share a map's channels."""
        return -(-self.d // self.channels)

    @property
    def n_chunks(self) -> int:
        """Chunks of a walk."""
        return self.length // self.chunk

    @property
    def segments(self) -> int:
        """Programs that share a walk."""
        return -(-self.n_chunks // self.segment) if self.segment else 1

    def for_batch(self, batch: int) -> "Scan":
        """The scan for a batch size, in segments if there are too few programs to keep a GPU busy.

        Choice: segments cost a second pass over the tokens, so two of them gain nothing. There are at most
        sqrt(length) segments, because each program goes through all earlier ones.
        """
        programs = batch * len(self.directions) * self.blocks
        segments = min(self.schedulers // programs, math.isqrt(self.length))
        segment = -(-self.n_chunks // segments) if segments > 2 else None
        return dataclasses.replace(self, batch=batch, segment=segment)

    def walk(self, direction: int) -> Walk:
        """The walk of a direction, 0 to 3."""
        return Walk(direction, self.h, self.w, self.chunk)


def plan(directions: Sequence[int], h: int, w: int, d: int, n: int, rank: int, interpret: bool) -> Scan:
    """The tiled scan of an h x w map; `rank` is 0 if delta is given.

    A chunk is inside one line, so its size has to divide the line's. If none does, the result's map is larger than
    h x w, and its rank is 0: padding needs a given delta, which is 0 there and so changes nothing.
    """
    # Several vectors of channels share their tokens' scalars, if there are enough registers.
    channels = 64 if d % 64 == 0 and n <= 4 else 32
    chunk = max(1, (4 if rank > _LARGE_RANK else 8) // n)
    # Only columns limit a chunk: rows follow one another in memory. A map of one row or column is one line.
    line = h if min(h, w) > 1 else h * w
    if rank > _LARGEST_RANK:
        rank = 0
    if line % chunk and line % 4 == 0:
        chunk = 4
    if line % chunk:
        rank = 0
        h, w = (h, -(-w // chunk) * chunk) if h == 1 else (-(-h // chunk) * chunk, w)
    return Scan(
        directions=tuple(directions), h=h, w=w, d=d, n=n, rank=rank, channels=channels, chunk=chunk, interpret=interpret
    )
