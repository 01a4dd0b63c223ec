"""The demo's server, spoken to over HTTP."""

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from mamkpd_jax import Predictor
from mamkpd_jax.inference.images import read

pytest.importorskip("starlette", reason="the extra `demo` is not installed")

from mamkpd_jax.demo.server import MAX_BOXES, MAX_BYTES, poses

BOX = [280.0, 44.0, 218.0, 346.0]


@pytest.fixture(scope="module")
def ask(demo):
    """The status, headers and content of an answer."""

    def request(path, body=None, *, method=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", demo.port, timeout=60)
        types = {"Content-Type": "application/octet-stream"} if body is not None else {}
        connection.request(method or ("GET" if body is None else "POST"), path, body, types | (headers or {}))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, dict(response.headers), content

    return request


@pytest.fixture(scope="module")
def poses_of(ask):
    """The status and JSON of the answer to a picture."""

    def request(body, boxes=None, **options):
        query = "" if boxes is None else f"?boxes={quote(boxes if isinstance(boxes, str) else json.dumps(boxes))}"
        status, _, content = ask(f"/poses{query}", body, **options)
        return status, json.loads(content)

    return request


@pytest.fixture(scope="module")
def picture(shared_data):
    return shared_data / "coco_mini" / "000000000785.jpg"


def test_poses_are_the_predictors_in_the_boxes_that_were_asked_for(poses_of, picture, workdir):
    status, answer = poses_of(picture.read_bytes(), [BOX, [0, 0, 640, 425]])
    assert status == 200 and (answer["width"], answer["height"]) == (640, 425)
    (expected,) = Predictor.from_pretrained(workdir, batch_size=1)(picture, np.array([BOX, [0, 0, 640, 425]]))
    joints = np.array([pose["joints"] for pose in answer["poses"]])
    np.testing.assert_allclose(joints[..., :2], expected.keypoints, atol=1e-3)
    np.testing.assert_allclose(joints[..., 2], expected.scores, atol=1e-5)
    assert [pose["box"] for pose in answer["poses"]] == [BOX, [0, 0, 640, 425]]


def test_without_boxes_the_whole_picture_is_one_and_every_joint_has_a_heatmap(poses_of, picture):
    (pose,) = poses_of(picture.read_bytes())[1]["poses"]
    assert pose["box"] == [0, 0, 640, 425]
    assert len(pose["heatmaps"]) == 1 + len(pose["joints"])
    assert all(url.startswith("data:image/jpeg;base64,") for url in pose["heatmaps"])


def test_a_detector_proposes_boxes_the_surest_first_and_none_that_can_not_be(picture, workdir):
    predictor = Predictor.from_pretrained(workdir, batch_size=1)
    found = [[700.0, 0, 10, 10], [0.0, 0, 640, 425], BOX], [0.9, 0.5, 0.8]
    answer = poses(predictor, picture.read_bytes(), lambda image: found)
    assert [pose["box"] for pose in answer["poses"]] == [BOX, [0, 0, 640, 425]]
    assert poses(predictor, picture.read_bytes(), lambda image: ([], []))["poses"] == []
    many = [BOX] * (MAX_BOXES + 2), [0.5] * (MAX_BOXES + 2)
    answer = poses(predictor, picture.read_bytes(), lambda image: many)
    assert (len(answer["poses"]), answer["left_out"]) == (MAX_BOXES, 2)


def test_an_answer_runs_the_network_once(picture, workdir, monkeypatch):
    crops = []

    def counted(self, part):
        crops.append(part)
        return network(self, part)

    network = Predictor.network
    monkeypatch.setattr(Predictor, "network", counted)
    predictor = Predictor.from_pretrained(workdir, batch_size=1)
    assert len(poses(predictor, picture.read_bytes(), np.array([BOX, BOX]))["poses"]) == len(crops) == 2
    assert predictor._engine._predict._cache_size() == 0


def test_gray_transparent_and_turned_pictures_are_read_as_they_are_seen(poses_of, picture):
    image = cv2.cvtColor(read(picture, upright=True), cv2.COLOR_RGB2BGR)
    for view in (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)):
        assert poses_of(cv2.imencode(".png", view)[1].tobytes())[0] == 200
    # A JPEG whose EXIF data say that it has to be turned by 90 degrees: big-endian, one entry, orientation 6.
    turn = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    turned = jpeg[:2] + b"\xff\xe1" + (len(turn) + 2).to_bytes(2, "big") + turn + jpeg[2:]
    answer = poses_of(turned)[1]
    assert (answer["width"], answer["height"]) == (425, 640)


def test_other_formats_come_back_as_jpeg(poses_of, picture):
    image = cv2.imread(str(picture))
    for suffix in (".tiff", ".jp2", ".ppm"):
        status, answer = poses_of(cv2.imencode(suffix, image)[1].tobytes())
        kind, _, data = answer["picture"].partition(",")
        assert status == 200 and kind == "data:image/jpeg;base64", suffix
        shown = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape == image.shape and np.abs(shown.astype(int) - image).mean() < 5
    for suffix in (".jpg", ".png", ".webp", ".gif", ".bmp", ".avif"):
        assert poses_of(cv2.imencode(suffix, image)[1].tobytes())[1]["picture"] is None, suffix


def test_animations_are_refused(poses_of, tmp_path):
    animation = cv2.Animation()
    animation.frames = [np.full((24, 36, 3), 20 * i, np.uint8) for i in range(3)]
    animation.durations = [40] * 3
    assert cv2.imwriteanimation(str(tmp_path / "animation.gif"), animation)
    status, answer = poses_of((tmp_path / "animation.gif").read_bytes())
    assert status == 422 and answer["error"].startswith("The file is animated (3 frames); ")


@pytest.mark.parametrize(
    ("boxes", "line"),
    [
        ("[[0, 0, NaN, 10]]", "not in finite numbers"),
        ([[700, 0, 10, 10]], "lies outside the image of 640x425 pixels"),
        ([[0, 0, -5, 10]], "has no width or height"),
        ([[0, 0, 10]], "expected [n, 4]"),
        ([], f"there are 0 boxes; give 1 to {MAX_BOXES}"),
        ([BOX] * (MAX_BOXES + 1), f"give 1 to {MAX_BOXES}"),
        ("[[", "no JSON list"),
        ({"x": 1}, "the boxes are no numbers"),
    ],
)
def test_boxes_that_can_not_be_are_refused(poses_of, picture, boxes, line):
    status, answer = poses_of(picture.read_bytes(), boxes)
    assert status == 422 and line in answer["error"]


def test_files_that_are_no_pictures_are_refused_with_what_to_do(poses_of, bad_files, picture):
    for content in (bad_files["text"].read_bytes(), b"", picture.read_bytes()[:300]):
        status, answer = poses_of(content)
        assert status == 422
        assert (
            answer["error"]
            == f"The file is {len(content)} bytes that are no image. Choose a JPEG, PNG or WebP picture."
        )


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_unpacked(poses_of, bad_files, demo):
    content = bad_files["huge"].read_bytes()
    assert len(content) < MAX_BYTES
    before_kb = _peak_memory_kb(demo)
    status, answer = poses_of(content)
    assert status == 422 and "more than 134 million pixels; make it smaller" in answer["error"]
    assert _peak_memory_kb(demo) - before_kb < 50_000, "unpacked it takes 1.2 GB"


def test_a_file_of_too_many_bytes_is_refused(poses_of):
    status, answer = poses_of(bytes(MAX_BYTES + 1))
    assert (status, answer["error"]) == (413, "The file is larger than 20 MiB. Choose a smaller one.")


def test_other_sites_can_neither_send_pictures_nor_reach_the_server_by_a_name_of_theirs(ask, poses_of):
    status, answer = poses_of(b"picture", headers={"Content-Type": "text/plain"})
    assert status == 415 and "application/octet-stream" in answer["error"]
    status, headers, _ = ask("/poses", method="OPTIONS", headers={"Origin": "http://example.com"})
    assert status == 405 and not any(name.lower().startswith("access-control") for name in headers)
    assert ask("/about", headers={"Host": "example.com"})[0] == 400


def test_the_page_may_load_nothing_from_elsewhere_and_only_its_files_are_served(ask):
    status, headers, content = ask("/")
    assert status == 200 and b"<h1>" in content
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    for path in ("/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "/server.py"):
        assert ask(path)[0] == 404, path


def test_it_listens_on_one_address_of_this_machine(demo):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", demo.port), timeout=5)


def test_a_port_in_use_is_told_in_a_line(demo, workdir):
    command = [sys.executable, "-m", "mamkpd_jax", "demo", f"--checkpoint={workdir}", f"--port={demo.port}"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: can't listen on 127.0.0.1, port {demo.port} (")


def test_nothing_is_written(demo, poses_of, picture):
    assert poses_of(picture.read_bytes())[0] == 200
    assert not [name for _, folders, files in os.walk(demo.folder) for name in folders + files]


def _peak_memory_kb(demo):
    text = Path(f"/proc/{demo.pid}/status").read_text(encoding="utf-8")
    return int(text.split("VmHWM:")[1].split()[0])
