"""How a scan is cut for the kernels, from its sizes.

Choice: from compiled instruction counts (`make kernel-report`); nothing here was timed on a GPU.
"""

import dataclasses
import math
from collections.abc import Sequence

from mamkpd_jax.ops.selective_scan.walk import Walk

# Delta's projection costs the kernels 50 instructions more for 32 channels of a token at rank 24, and one that is made
# outside costs a GPU three kernels and several times the bytes of the scan. At rank 48 registers spill.
_LARGEST_RANK = 32
# Above, chunks of 8 tokens take three times as long to compile as those of 4, and 1.6 times the registers.
_LARGE_RANK = 12
_SCHEDULERS = 512  # of an RTX 4090; an H200 has 528. Each issues an instruction of one program a cycle.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scan:
    """A scan of maps [h, w, d] with n states, as far as it is known when the kernels are compiled."""

    directions: tuple[int, ...]
    h: int
    w: int
    d: int
    n: int
    rank: int  # of the projection that makes delta in the kernel; 0: delta is given
    channels: int  # a program's
    chunk: int  # tokens that are loaded together; one checkpoint each
    batch: int = 1  # this and the next are those of `for_batch`
    segment: int | None = None  # chunks of the part of a walk that is a program's own; None: the whole walk
    schedulers: int = _SCHEDULERS  # programs that a small batch is cut into, if it can be; 0: no segments
    prefetch: bool = False  # whether a chunk is loaded before the work on the one before
    interpret: bool = False

    @property
    def length(self) -> int:
        return self.h * self.w

    @property
    def blocks(self) -> int:
        """Programs that share a map's channels."""
        return -(-self.d // self.channels)

    @property
    def n_chunks(self) -> int:
        return self.length // self.chunk

    @property
    def segments(self) -> int:
        """Programs that share a walk."""
        return -(-self.n_chunks // self.segment) if self.segment else 1

    def for_batch(self, batch: int) -> "Scan":
        """The scan of a batch, in segments where there are too few programs to keep a card busy.

        Choice: segments cost a second pass over the tokens, so that two of them gain nothing. A program also goes
        through all segments before its own, so that there are no more of them than they have tokens.
        """
        programs = batch * len(self.directions) * self.blocks
        segments = min(self.schedulers // programs, math.isqrt(self.length))
        segment = -(-self.n_chunks // segments) if segments > 2 else None
        return dataclasses.replace(self, batch=batch, segment=segment)

    def walk(self, direction: int) -> Walk:
        return Walk(direction, self.h, self.w, self.chunk)


def plan(directions: Sequence[int], h: int, w: int, d: int, n: int, rank: int, interpret: bool) -> Scan:
    """The scan of an h x w map, cut for the kernels; `rank` is 0 where delta is given.

    A chunk lies in one line, so it has to divide the lines. Where none does, the result's map is larger, and its rank
    is 0: padding needs a given delta, one that is 0 there, so that nothing changes.
    """
    # Several vectors of channels share their tokens' scalars, as long as the registers last.
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
