"""The limits of requests: bytes, pixels, boxes, time, and how many run at once."""

import asyncio
import contextlib
import dataclasses
import io
import json
import sys
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import anyio
import numpy as np
from fastapi import HTTPException, Request
from jaxtyping import Float
from PIL import Image
from starlette.requests import ClientDisconnect

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import as_boxes

_T = TypeVar("_T")
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "JPEG2000", "PPM")  # those that OpenCV reads too


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one request, and of concurrent requests."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 64_000_000
    max_boxes: int = 32
    max_requests: int = 64
    read_timeout_s: float = 30.0


class Gate:
    """Limits concurrent requests. It refuses further ones, because waiting pictures would fill the memory."""

    def __init__(self, size: int):
        self._size, self.running = size, 0

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Counts a request while it runs.

        Raises:
            HTTPException: 503 if too many are running.
        """
        if self.running >= self._size:
            raise HTTPException(503, f"{self.running} requests are running; try again soon", {"Retry-After": "1"})
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1


def check_media_type(request: Request) -> None:
    """Raises HTTPException 415 for a Content-Type that other sites' pages can send without a CORS preflight."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind != "application/octet-stream":
        found = f"is {kind!r}" if kind else "is missing"
        raise HTTPException(
            415, f"Content-Type {found}; send the picture's bytes as image/* or application/octet-stream"
        )


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: 413 if it is too large, 408 if it arrives too slowly.
        ClientDisconnect: the client has disconnected.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.max_bytes:
        raise _too_long(limits)
    data = bytearray()
    try:
        async with asyncio.timeout(limits.read_timeout_s):
            async for chunk in request.stream():
                data += chunk
                if len(data) > limits.max_bytes:
                    raise _too_long(limits)
    except TimeoutError as error:
        line = f"The file did not arrive within {limits.read_timeout_s:g} s. Send it again, or a smaller one."
        raise HTTPException(408, line, {"Connection": "close"}) from error
    return bytes(data)


def _too_long(limits: Limits) -> HTTPException:
    return HTTPException(413, f"The file is larger than {limits.max_bytes / 2**20:g} MiB. Choose a smaller one.")


def header_pixels(data: bytes) -> int:
    """The number of pixels by a picture's header, before it is decoded; 0 if Pillow can't read it."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return image.width * image.height
    except Image.DecompressionBombError:  # far above the limit of pixels that Predictor decodes
        return sys.maxsize
    except Exception:  # Pillow raises errors of many types for damaged files
        return 0


def check_pixels(n: int, limits: Limits) -> None:
    """Raises UserError if a picture has too many pixels."""
    if n > limits.max_pixels:
        raise UserError(f"The picture has more than {limits.max_pixels / 1e6:g} million pixels; make it smaller.")


def parse_boxes(text: str | None, limits: Limits) -> Float[np.ndarray, "n 4"] | None:
    """The boxes of a request, from JSON [[x, y, width, height], ...]; None if the request has none.

    Raises:
        UserError: the text is not such a list, or has no boxes or too many.
    """
    if text is None:
        return None
    try:
        boxes = as_boxes(json.loads(text)).xywh
    except (ValueError, RecursionError) as error:
        raise UserError(f"the boxes are not a JSON list ({error}); expected [[x, y, width, height], ...]") from error
    if not 0 < len(boxes) <= limits.max_boxes:
        raise UserError(f"there are {len(boxes)} boxes; give 1 to {limits.max_boxes}")
    return boxes


async def until_disconnect(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`, which is cancelled when the client disconnects. Its running thread is still awaited.

    Choice: an anyio cancel scope, because a cancelled asyncio task would not wait for its thread. The thread would no
    longer count, and disconnecting clients could start any number of them.

    Raises:
        ClientDisconnect: the client has disconnected.
    """
    with anyio.CancelScope() as scope:
        watching = asyncio.create_task(_cancel_at_disconnect(request, scope))
        try:
            return await work
        finally:
            watching.cancel()
    raise ClientDisconnect


async def _cancel_at_disconnect(request: Request, scope: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
