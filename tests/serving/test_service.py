"""The service in this process, with detectors of the tests."""

import asyncio
import contextlib
import time

import cv2
import pytest

from mamkpd_jax import Predictor
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import whole_image

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from mamkpd_jax.serving.app import make_app
from mamkpd_jax.serving.limits import Limits
from mamkpd_jax.serving.metrics import Metrics
from mamkpd_jax.serving.service import PoseService

BOX = [280.0, 44.0, 218.0, 346.0]


@pytest.fixture
def service_with(predictor):
    """A function that creates a service with a detector."""
    with contextlib.ExitStack() as stack:

        def make(detector, **limits):
            batcher = predictor.batcher(max_wait_ms=0.0)
            stack.callback(batcher.close)
            return PoseService(predictor, batcher, detector, Limits(**limits))

        yield make


def _poses(service, picture):
    return asyncio.run(service.poses(picture.read_bytes(), None, heatmaps=False))


def test_invalid_boxes_of_a_detector_are_left_out(service_with, picture):
    found = [[700.0, 0, 10, 10], [0.0, 0, 640, 425], BOX], [0.9, 0.5, 0.8]
    answer = _poses(service_with(lambda image: found), picture)
    assert [(list(pose.box), pose.box_score) for pose in answer.poses] == [(BOX, 0.8), ([0, 0, 640, 425], 0.5)]


def test_a_picture_can_have_no_poses(service_with, picture):
    answer = _poses(service_with(lambda image: ([], [])), picture)
    assert (answer.width, answer.height, answer.poses) == (640, 425, [])


def test_the_best_boxes_of_a_detector_are_kept(service_with, picture):
    most = Limits().max_boxes
    answer = _poses(service_with(lambda image: ([BOX] * (most + 2), [0.5] * (most + 2))), picture)
    assert (len(answer.poses), answer.left_out) == (most, 2)


@pytest.mark.parametrize("suffix", [".jpg", ".ras"])  # Pillow does not read the second one's header
def test_the_pixel_limit_holds_for_any_format(service_with, picture, suffix):
    service = service_with(whole_image, max_pixels=640 * 425 - 1)
    data = cv2.imencode(suffix, cv2.imread(str(picture)))[1].tobytes()
    with pytest.raises(UserError, match="more than 0.271999 million pixels; make it smaller"):
        asyncio.run(service.poses(data, None, heatmaps=False))


def test_a_failure_is_logged_and_answered(service_with, picture, caplog):
    def broken(image):
        raise RuntimeError("the detector broke")

    app, sent = make_app(service_with(broken), metrics := Metrics(4), name="tiny", hosts=None), []
    with pytest.raises(RuntimeError):  # starlette raises it again after responding
        asyncio.run(_request(app, picture, sent))
    assert sent[0]["status"] == 500
    assert sent[1]["body"] == b'{"error":"The server failed. Its log in the terminal has the reason."}'
    assert "POST /poses failed" in caplog.text and "the detector broke" in caplog.text
    assert b'mamkpd_requests_total{status="500"} 1.0' in metrics.text()


def test_disconnecting_clients_do_not_pile_up_threads(service_with, picture):
    running, sizes = [], []

    def slow(image):
        running.append(image)
        sizes.append(len(running))
        time.sleep(0.3)
        running.pop()
        return [BOX], [1.0]

    app = make_app(service_with(slow, max_requests=6), metrics := Metrics(4), name="tiny", hosts=None)

    async def requests():
        sent = [[] for _ in range(8)]
        async with asyncio.TaskGroup() as group:
            for one in sent:
                group.create_task(_request(app, picture, one, stays_s=0.01))
                await asyncio.sleep(0.02)
        return [one[0]["status"] for one in sent]

    statuses = asyncio.run(requests())
    assert max(sizes) == len(sizes) == 4, "a thread is free once its work is done"
    assert statuses == [499] * 8
    assert b"mamkpd_running_requests 0.0" in metrics.text()


async def _request(app, picture, sent, *, stays_s=60.0):
    """Sends a picture, and disconnects after `stays_s`."""
    headers = [(b"host", b"localhost"), (b"content-type", b"image/jpeg")]
    scope = {"type": "http", "method": "POST", "path": "/poses", "query_string": b"", "headers": headers}
    messages = iter([{"type": "http.request", "body": picture.read_bytes()}])

    async def receive():
        if (message := next(messages, None)) is None:
            await asyncio.sleep(stays_s)
            return {"type": "http.disconnect"}
        return message

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)


def test_a_request_runs_the_network_once(workdir, picture):
    predictor, sizes = Predictor.from_pretrained(workdir, batch_size=1), []
    batcher = predictor.batcher(max_wait_ms=0.0, observe=sizes.append)
    service = PoseService(predictor, batcher, lambda image: ([BOX], [1.0]), Limits())
    for heatmaps in (False, True):
        asyncio.run(service.poses(picture.read_bytes(), None, heatmaps=heatmaps))
    batcher.close()
    assert sizes == [1, 1]
