"""Serves a local page on which to try a model.

mamkpd demo [--checkpoint=NAME|DIR|FILE] [--boxes=yolox_s.onnx] [--host=127.0.0.1] [--port=8000]

Drop a picture on the page or choose one, and see joints, scores and heatmaps of the people or animals in it. Draw boxes
around those that the detector misses.
Pictures stay in this process's memory: nothing is written, and nothing leaves the machine.
"""

import socket

from absl import flags

from mamkpd_jax import cli, compilation_cache
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.detectors import AUTO, find_detector

_CHECKPOINT = cli.define_checkpoint("people", exported=True)
_BOXES = flags.DEFINE_string(
    "boxes",
    AUTO,
    "The boxes that are proposed: 'nanodet' finds people or animals, as the model needs; 'whole' takes the picture as "
    "one box; 'auto' is nanodet, or whole where the model is for something else; a detector's .onnx file, in the "
    "output form of YOLOX or RTMDet.",
    allow_override=True,
)
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen on. With another than this machine's own, whoever reaches it can use it."
)
_PORT = flags.DEFINE_integer("port", 8000, "Port to listen on; 0: any that is free.", lower_bound=0, upper_bound=65535)
_CACHE = compilation_cache.define_flag()

# Pictures that wait for their turn lie in memory.
_MAX_CONNECTIONS = 32


def main() -> None:
    import uvicorn

    from mamkpd_jax import Predictor
    from mamkpd_jax.demo.server import make_app, warm_up

    compilation_cache.enable(_CACHE.value)
    host, port = _HOST.value, _PORT.value
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        raise UserError(
            f"can't listen on {host}, port {port} ({error.strerror}); give another --host or --port"
        ) from error
    predictor = Predictor.from_pretrained(_CHECKPOINT.value, batch_size=1)
    detector = find_detector(_BOXES.value, predictor.skeleton)
    print("preparing the model", flush=True)
    warm_up(predictor)
    print(f"open http://{host}:{listener.getsockname()[1]} in a browser; Ctrl-C ends", flush=True)
    app = make_app(predictor, detector, name=_CHECKPOINT.value, host=host)
    uvicorn.Server(uvicorn.Config(app, log_config=None, limit_concurrency=_MAX_CONNECTIONS)).run(sockets=[listener])
