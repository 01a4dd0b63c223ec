"""Limits the memory that glibc keeps for a process with many threads."""

import ctypes
import sys

_M_ARENA_MAX = -8  # in glibc's malloc.h
_ARENAS = 2


def limit_arenas() -> None:
    """Makes all threads share two malloc arenas. Call it before they start; without glibc it has no effect.

    By default glibc has up to eight arenas per core, and each keeps the memory that was freed in it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
