"""The server's routes, and the headers and errors of all responses."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from absl import logging
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import mamkpd_jax
from mamkpd_jax.demo.description import describe_keypoints
from mamkpd_jax.errors import UserError
from mamkpd_jax.serving.answers import Health, Model, Poses, Problem
from mamkpd_jax.serving.limits import Gate, check_media_type, parse_boxes, read_body, until_disconnect
from mamkpd_jax.serving.metrics import Metrics
from mamkpd_jax.serving.service import PoseService

_PAGE = Path(mamkpd_jax.__file__).parent / "demo" / "page"
_CLIENT_HAS_LEFT = 499  # nginx's code, for the metrics; no client receives it
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
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "description": "The picture's file: JPEG, PNG, WebP or another format that OpenCV reads",
        "required": True,
        "content": {"image/*": _BYTES, "application/octet-stream": _BYTES},
    }
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        408: "The picture arrives too slowly",
        413: "The picture has too many bytes",
        415: "The Content-Type is not image/* or application/octet-stream",
        422: "The picture or a box can't be used",
        500: "The server failed; its log has the reason",
        503: "Too many requests run at once; try again after Retry-After seconds",
    }.items()
}
_BOXES_TEXT = "JSON [[x, y, width, height], ...] in pixels of the upright picture. Without it a detector finds them."
_HEATMAPS_TEXT = "Add pictures of the heatmaps, as the page shows them."


def make_app(service: PoseService, metrics: Metrics, *, name: str, hosts: Collection[str] | None) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        name: the model's name on the page.
        hosts: the host names that a request may have; None: any. The check prevents DNS rebinding, by which other sites
            could reach a local server.
    """
    # No docs pages: FastAPI's load scripts from another host.
    app = FastAPI(title="mamkpd", version=mamkpd_jax.__version__, docs_url=None, redoc_url=None)
    _add_routes(app, service, metrics, name)
    app.router.default = StaticFiles(directory=_PAGE, html=True)  # a mount would answer GET /poses with 404, not 405
    for kind in (StarletteHTTPException, UserError, RequestValidationError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _refuse)
    if hosts is not None:
        app.add_middleware(_HostCheck, hosts=hosts)
    app.add_middleware(_SecurityHeaders)
    return metrics.measured(app, "/poses")


def _add_routes(app: FastAPI, service: PoseService, metrics: Metrics, name: str) -> None:
    limits, gate = service.limits, Gate(service.limits.max_requests)
    metrics.watch(waiting_crops=lambda: service.batcher.waiting, running_requests=lambda: gate.running)

    @app.post(
        "/poses", responses=_PROBLEMS, openapi_extra=_BODY, response_model=Poses, response_model_exclude_none=True
    )
    async def poses(
        request: Request,
        boxes: Annotated[str | None, Query(description=_BOXES_TEXT, examples=["[[280, 44, 218, 346]]"])] = None,
        heatmaps: Annotated[bool, Query(description=_HEATMAPS_TEXT)] = False,
    ) -> Poses:
        """The poses in a picture, whose file is the request's body."""
        check_media_type(request)
        given = parse_boxes(boxes, limits)
        with gate.enter():
            data = await read_body(request, limits)
            return await until_disconnect(request, service.poses(data, given, heatmaps=heatmaps))

    @app.get("/model")
    async def model() -> Model:
        """The model that runs, and the limits of a request."""
        return Model(
            name=name,
            max_bytes=limits.max_bytes,
            max_pixels=limits.max_pixels,
            max_boxes=limits.max_boxes,
            **describe_keypoints(service.predictor.skeleton),
        )

    @app.get("/health")
    async def health() -> Health:
        """Responds once the model is loaded and warmed up."""
        return Health()

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def read_metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


class _HostCheck:
    """Refuses requests whose `Host` is not in `hosts`."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]):
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = re.sub(r":\d*$", "", Headers(scope=scope).get("host", "").lower())
        problem = f"The Host is {host!r}; use one of {', '.join(sorted(self._hosts))}"
        app = self._app if host in self._hosts else JSONResponse({"error": problem}, 400)
        await app(scope, receive, send)


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


def _refuse(request: Request, error: Exception) -> Response:
    """The response to an error, with one line in JSON. Unexpected errors are logged with their traceback."""
    match error:
        case StarletteHTTPException():
            return JSONResponse({"error": error.detail}, error.status_code, error.headers)
        case UserError():
            return JSONResponse({"error": str(error)}, 422)
        case RequestValidationError():
            first = error.errors()[0]
            return JSONResponse({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)
        case ClientDisconnect():
            return Response(status_code=_CLIENT_HAS_LEFT)
        case _:
            logging.error("%s %s failed", request.method, request.url.path, exc_info=error)
            return JSONResponse({"error": "The server failed. Its log in the terminal has the reason."}, 500)
