"""The HTTP messages of the load test, with the responses that they should get."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import cv2
import numpy as np
from jaxtyping import Float

from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.inference.detectors import AUTO
from mamkpd_jax.inference.predictor import Predictor

# Limits of `mamkpd serve`.
_MAX_BYTES = 20 * 2**20
_MAX_BOXES = 32
_MAX_PIXELS = 64_000_000
# Rounding depends on the batch size, which the server chooses by load.
_TOLERANCE_PX = 0.1


class Good(NamedTuple):
    """A request for the poses in a picture, and the keypoints that the Predictor finds in it."""

    message: bytes
    picture: bytes
    boxes: Float[np.ndarray, "n 4"] | str  # "auto": the detector's
    keypoints: Float[np.ndarray, "n j 2"]


class Bad(NamedTuple):
    """A request that the server must refuse, and the status that it must give."""

    name: str
    message: bytes
    status: int


def post(body: bytes, boxes: Any = None, *, kind: str = "image/jpeg") -> bytes:
    """An HTTP/1.1 POST message of a picture's bytes; `boxes` are sent as JSON."""
    query = "" if boxes is None else f"?boxes={quote(json.dumps(boxes))}"
    head = f"POST /poses{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def good_requests(predictor: Predictor, pictures: Sequence[bytes]) -> list[Good]:
    """Two requests for each picture, with and without boxes; every fourth picture is doubled in size."""
    requests = []
    for i, data in enumerate(pictures):
        picture = _doubled(data) if i % 4 == 3 else data
        (poses,) = predictor(picture, AUTO)
        if len(poses) <= _MAX_BOXES:
            requests.append(Good(post(picture), picture, AUTO, poses.keypoints))
        if 0 < len(poses) <= _MAX_BOXES:
            message = post(picture, poses.boxes.tolist())
            requests.append(Good(message, picture, poses.boxes, poses.keypoints))
    return requests


def bad_requests(picture: bytes) -> list[Bad]:
    """A bad request of each kind, made from a good picture."""
    side = int(_MAX_PIXELS**0.5) + 1
    huge = cv2.imencode(".png", np.zeros((side, side), np.uint8))[1].tobytes()
    return [
        Bad("truncated picture", post(picture[: len(picture) // 2]), 422),
        Bad("text", post(b"no picture at all\n" * 20), 422),
        Bad("empty body", post(b""), 422),
        Bad("another media type", post(picture, kind="text/plain"), 415),
        Bad("boxes without numbers", post(picture, "none"), 422),
        Bad("a box outside", post(picture, [[1e6, 1e6, 10, 10]]), 422),
        Bad("too many boxes", post(picture, [[0, 0, 10, 10]] * (_MAX_BOXES + 1)), 422),
        Bad("too many pixels", post(huge, kind="image/png"), 422),
    ]


def too_large() -> Bad:
    """A request whose file is one byte too large."""
    return Bad("too many bytes", post(bytes(_MAX_BYTES + 1)), 413)


def difference(answer: bytes, expected: Float[np.ndarray, "n j 2"]) -> str | None:
    """How the poses of a response differ from the expected ones; None if they agree."""
    found = [np.array(pose["keypoints"])[:, :2] for pose in json.loads(answer)["poses"]]
    if len(found) != len(expected):
        return f"{len(found)} poses instead of {len(expected)}"
    distance = max((float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True)), default=0.0)
    return None if distance <= _TOLERANCE_PX else f"a keypoint is {distance:.2f} px from the Predictor's"


def _doubled(data: bytes) -> bytes:
    image = cv2.cvtColor(decode_image(data), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", cv2.resize(image, None, fx=2, fy=2))[1].tobytes()
