"""Keeps the memory of a process with many threads steady."""

import ctypes
import sys

_M_ARENA_MAX = -8  # in glibc's malloc.h
_ARENAS = 2


def limit_arenas() -> None:
    """Lets threads share the memory that they free; call it before they start. Only glibc needs it and has it.

    glibc gives threads arenas of their own, up to eight for each core, and each keeps what was freed in it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
