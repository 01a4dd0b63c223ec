"""The demo's server: the files of a page, what it must know of the model, and the answer to a picture.

A picture comes as the body of a request, without a name, and is kept in memory while it is answered.
"""

import base64
import json
from pathlib import Path
from typing import Any

import anyio
import cv2
import numpy as np
from jaxtyping import Float, UInt8
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mamkpd_jax import Predictor
from mamkpd_jax.demo.description import describe_keypoints
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import Detector, as_boxes, whole_image
from mamkpd_jax.inference.images import read
from mamkpd_jax.visualize import overlay_heatmap

MAX_BYTES = 20 * 2**20
MAX_BOXES = 32
_PAGE = Path(__file__).parent / "page"
_LOCAL = ("127.0.0.1", "localhost")
_VIEW_HEIGHT_PX = 320  # of a crop under its heatmap
# The page loads its own files and nothing else; pictures are shown from memory.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _SecurityHeaders:
    """Adds `_HEADERS` to every response."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def make_app(predictor: Predictor, detector: Detector, *, name: str, host: str) -> Starlette:
    """The server as an ASGI application.

    Args:
        detector: proposes boxes.
        name: what the page calls the model.
        host: the address that is listened on. On this machine's own, requests by another host name are refused: a
            foreign page could reach the server by a name of its own that leads here.
    """
    one_at_a_time = anyio.CapacityLimiter(1)

    async def about(request: Request) -> Response:
        return JSONResponse({"name": name, **describe_keypoints(predictor.skeleton), "max_bytes": MAX_BYTES})

    async def answer(request: Request) -> Response:
        # A browser asks first before it sends this type for a page of another site, and we never agree.
        if request.headers.get("content-type") != "application/octet-stream":
            raise HTTPException(415, "send the picture's bytes as application/octet-stream")
        boxes = _boxes(request.query_params.get("boxes"))
        data = await _body(request)
        where = detector if boxes is None else boxes
        return JSONResponse(await anyio.to_thread.run_sync(poses, predictor, data, where, limiter=one_at_a_time))

    return Starlette(
        routes=[
            Route("/about", about),
            Route("/poses", answer, methods=["POST"]),
            Mount("/", StaticFiles(directory=_PAGE, html=True)),
        ],
        middleware=[
            Middleware(_SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=_LOCAL if host in _LOCAL else ("*",)),
        ],
        exception_handlers={HTTPException: _refuse, UserError: _refuse, Exception: _refuse},
    )


def _refuse(request: Request, error: Exception) -> Response:
    """An error as the page shows it; the log has the details of unexpected ones."""
    match error:
        case HTTPException():
            return JSONResponse({"error": error.detail}, error.status_code)
        case UserError():
            return JSONResponse({"error": str(error)}, 422)
        case _:
            return JSONResponse({"error": "The server failed. Its log in the terminal has the reason."}, 500)


def poses(predictor: Predictor, data: bytes, boxes: Float[np.ndarray, "n 4"] | Detector) -> dict[str, Any]:
    """What the page shows of a picture: the poses in the boxes, or in the best that a detector finds.

    Raises:
        UserError: the bytes are no picture, or one that is too large, or a box can't be used.
    """
    try:
        image = read(data, upright=True)
    except UserError as error:
        line = str(error).replace("the image", "The file", 1)
        raise UserError(f"{line}. Choose a JPEG, PNG or WebP picture.") from error
    left_out = 0
    if callable(boxes):
        found = as_boxes(*boxes(image))
        best = np.argsort(-found.scores, kind="stable")[:MAX_BOXES]
        left_out = len(found.scores) - len(best)
        seen = predictor.heatmaps(image, (found.xywh[best], found.scores[best]), box_threshold=0.0)
    else:
        seen = predictor.heatmaps(image, boxes)
    joints = np.concatenate([seen.result.keypoints, seen.result.scores[..., None]], axis=-1)
    return {
        "width": image.shape[1],
        "height": image.shape[0],
        "left_out": left_out,  # boxes beyond the best MAX_BOXES
        "picture": None if _browsers_show(data) else _data_url(image),
        "poses": [
            {"box": box.tolist(), "joints": pose.tolist(), "heatmaps": _pictures(crop, heatmaps)}
            for box, pose, crop, heatmaps in zip(seen.result.boxes, joints, seen.crops, seen.heatmaps, strict=True)
        ],
    }


def warm_up(predictor: Predictor) -> None:
    """Compiles or loads what a picture needs, so that the first one does not wait for it."""
    blank = np.zeros((*predictor.config.data.input_hw, 3), np.uint8)
    poses(predictor, cv2.imencode(".png", blank)[1].tobytes(), whole_image)


def _browsers_show(data: bytes) -> bool:
    """Whether browsers show the file's format; they don't show TIFF, HEIC and JPEG 2000."""
    jpeg, png, gif, bmp = b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM"
    is_webp, is_avif = data[:4] == b"RIFF" and data[8:12] == b"WEBP", data[4:12] == b"ftypavif"
    return data.startswith((jpeg, png, gif, bmp)) or is_webp or is_avif


def _pictures(crop: UInt8[np.ndarray, "h w 3"], heatmaps: np.ndarray) -> list[str]:
    """The crop under the heatmaps of all joints, then under each joint's own, as data URLs."""
    scale = _VIEW_HEIGHT_PX / crop.shape[0]
    view = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    shown = [heatmaps.max(axis=-1), *np.moveaxis(heatmaps, -1, 0)]
    return [_data_url(overlay_heatmap(view, np.ascontiguousarray(heatmap))) for heatmap in shown]


def _data_url(image: UInt8[np.ndarray, "h w 3"]) -> str:
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"


def _boxes(text: str | None) -> Float[np.ndarray, "n 4"] | None:
    """The boxes of a request, [[x, y, width, height], ...]; None: those that a detector proposes."""
    if text is None:
        return None
    try:
        boxes = as_boxes(json.loads(text)).xywh
    except (ValueError, RecursionError) as error:
        raise UserError(f"the boxes are no JSON list ({error})") from error
    if not 0 < len(boxes) <= MAX_BOXES:
        raise UserError(f"there are {len(boxes)} boxes; give 1 to {MAX_BOXES}")
    return boxes


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BYTES:
            raise HTTPException(413, f"The file is larger than {MAX_BYTES // 2**20} MiB. Choose a smaller one.")
    return bytes(data)
