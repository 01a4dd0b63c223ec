"""Serves a model over HTTP: poses of pictures as JSON, and a page to try it.

mamkpd serve [--checkpoint=NAME|DIR|FILE] [--boxes=yolox_s.onnx] [--host=127.0.0.1] [--port=8000]

  ask it      curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg http://127.0.0.1:8000/poses
  try it      open http://127.0.0.1:8000 in a browser

GET /openapi.json describes the API; /health and /metrics (Prometheus) are for monitoring. docs/serve.md has the
details. The crops of all requests share batches. On SIGTERM or Ctrl-C the server finishes the running requests, then
exits with status 0. Pictures stay in memory: nothing is written to disk, and only the answers leave the process.
"""

import ipaddress
import signal
import socket

from absl import flags

from mamkpd_jax import cli, compilation_cache
from mamkpd_jax.commands import _detector
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.detectors import AUTO

_CHECKPOINT = cli.define_checkpoint("people", exported=True)
_RUNTIME = cli.define_runtime()
_BOXES = flags.DEFINE_string(
    "boxes",
    AUTO,
    "The source of boxes for requests without any: 'nanodet' detects people or animals, as the model needs; 'whole' "
    "takes the picture as one box; 'auto' is nanodet, or whole if the model is for something else; a detector's .onnx "
    "file, such as YOLO, YOLOX or RTMDet.",
    allow_override=True,
)
_DETECTOR = _detector.define()
_FLIP_TEST = flags.DEFINE_bool(
    "flip_test",
    None,
    "Average with the prediction for the mirrored crop. Default: as in the model's config or the .onnx file's export.",
    allow_override=True,
)
_HOST = flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "Address to listen on. The server has no authentication: for an address that others can reach, put a reverse proxy "
    "with TLS and authentication in front.",
)
_PORT = flags.DEFINE_integer("port", 8000, "Port to listen on; 0: any free port.", lower_bound=0, upper_bound=65535)
_BATCH = flags.DEFINE_integer("batch_size", 8, "Crops per batch, at most.", lower_bound=1, allow_override=True)
_MAX_WAIT = flags.DEFINE_float(
    "max_wait_ms", 5.0, "Milliseconds that a crop waits for others of its batch on an idle device.", lower_bound=0.0
)
_MIB = flags.DEFINE_float("max_mib", 20.0, "Size limit of a picture's file, in MiB.", lower_bound=0.001)
_MEGAPIXELS = flags.DEFINE_float(
    "max_megapixels", 64.0, "Size limit of a picture, in millions of pixels.", 0.001, 134.0
)
_MAX_BOXES = flags.DEFINE_integer("max_boxes", 32, "Limit of boxes per picture.", lower_bound=1)
_MAX_REQUESTS = flags.DEFINE_integer(
    "max_requests", 64, "Requests that run at once; more are refused with the status 503.", lower_bound=1
)
_READ_TIMEOUT = flags.DEFINE_float(
    "read_timeout_s",
    30.0,
    "Seconds that a request's header and picture may take to arrive, and the client to read the answer.",
    lower_bound=0.1,
)
_GRACE = flags.DEFINE_integer(
    "grace_s", 30, "Seconds that running requests may take to finish after SIGTERM or Ctrl-C.", lower_bound=1
)
_CACHE = compilation_cache.define_flag()

_MAX_CONNECTIONS = 1000  # below the usual limit of open files


def main() -> None:
    import uvicorn

    from mamkpd_jax import Predictor
    from mamkpd_jax.serving.app import make_app
    from mamkpd_jax.serving.connection import connection_type
    from mamkpd_jax.serving.limits import Limits
    from mamkpd_jax.serving.memory import limit_arenas
    from mamkpd_jax.serving.metrics import Metrics
    from mamkpd_jax.serving.service import PoseService

    limit_arenas()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the server is ready, Ctrl-C exits at once without a traceback
    compilation_cache.enable(_CACHE.value)
    listener = _listen(_HOST.value, _PORT.value)
    predictor = Predictor.from_pretrained(
        _CHECKPOINT.value, flip_test=_FLIP_TEST.value, batch_size=_BATCH.value, runtime=_RUNTIME.value
    )
    detector = _DETECTOR.find(_BOXES.value, predictor.skeleton)
    limits = Limits(
        max_bytes=int(_MIB.value * 2**20),
        max_pixels=int(_MEGAPIXELS.value * 1e6),
        max_boxes=_MAX_BOXES.value,
        max_requests=_MAX_REQUESTS.value,
        read_timeout_s=_READ_TIMEOUT.value,
    )
    print("preparing the model", flush=True)
    metrics = Metrics(predictor.batch_size)
    batcher = predictor.batcher(max_wait_ms=_MAX_WAIT.value, observe=metrics.batch_crops.observe)
    service = PoseService(predictor, batcher, detector, limits)
    service.warm_up()
    config = uvicorn.Config(
        make_app(service, metrics, name=_CHECKPOINT.value, hosts=_hosts(listener)),
        http=connection_type(limits.read_timeout_s),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # the application logs failures; uvicorn would repeat them, and log non-HTTP bytes
        access_log=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE.value,
    )
    address = f"http://{_as_in_urls(_HOST.value)}:{listener.getsockname()[1]}"
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):  # before the server runs, and when it raises them again at exit
        signal.signal(number, server.handle_exit)
    print(f"ready: {address} (the page), {address}/openapi.json (the API); Ctrl-C ends", flush=True)
    server.run(sockets=[listener])
    batcher.close()


def _listen(host: str, port: int) -> socket.socket:
    if not host:
        raise UserError("--host is empty, which would listen on all addresses; give one, for example 127.0.0.1")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # without the address, which the message has already
        raise UserError(f"can't listen on {host}, port {port} ({reason}); give another --host or --port") from error


def _hosts(listener: socket.socket) -> set[str] | None:
    """The host names that requests to a loopback address may have; None if the server listens on another address."""
    if not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        return None
    return {"localhost", "127.0.0.1", "[::1]", _as_in_urls(_HOST.value).lower()}


def _as_in_urls(host: str) -> str:
    return f"[{host}]" if ":" in host else host
