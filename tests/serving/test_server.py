"""The server's responses to pictures, over HTTP."""

import base64
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import jsonschema
import numpy as np
import pytest

from mamkpd_jax.inference.images import read

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from fastapi.openapi.models import OpenAPI

from mamkpd_jax.serving.limits import Limits
from tests.serving.servers import ROOT, started

MAX_BOXES, MAX_BYTES = Limits().max_boxes, Limits().max_bytes
BOX = [280.0, 44.0, 218.0, 346.0]


def test_poses_equal_those_of_the_predictor(server, picture, predictor):
    status, answer = server.poses(picture.read_bytes(), [BOX, [0, 0, 640, 425]])
    assert status == 200 and (answer["width"], answer["height"]) == (640, 425)
    (expected,) = predictor(picture, np.array([BOX, [0, 0, 640, 425]]))
    keypoints = np.array([pose["keypoints"] for pose in answer["poses"]])
    np.testing.assert_allclose(keypoints[..., :2], expected.keypoints, atol=1e-3)
    np.testing.assert_allclose(keypoints[..., 2], expected.scores, atol=1e-5)
    np.testing.assert_allclose([pose["score"] for pose in answer["poses"]], expected.pose_scores, atol=1e-5)
    assert [pose["box"] for pose in answer["poses"]] == [BOX, [0, 0, 640, 425]]


def test_requests_get_their_own_poses(server, pictures, predictor):
    files, boxes = zip(*pictures, strict=True)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: server.poses(files[i % 4].read_bytes(), boxes[i % 4].tolist()), range(24)))
    expected = predictor(files, boxes)
    for i, (status, answer) in enumerate(answers):
        keypoints = np.array([pose["keypoints"] for pose in answer["poses"]])
        assert status == 200
        np.testing.assert_allclose(keypoints[..., :2], expected[i % 4].keypoints, atol=1e-3)


def test_broken_pictures_spare_the_others(server, picture, bad_files):
    good = picture.read_bytes()
    broken = (good[: len(good) // 2], bad_files["text"].read_bytes(), b"", bad_files["huge"].read_bytes())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: server.poses(good if i % 2 else broken[i // 2 % 4]), range(24)))
    assert [status for status, _ in answers] == [422, 200] * 12


def test_heatmaps_are_returned_on_request(server, picture):
    (pose,) = server.poses(picture.read_bytes(), query="heatmaps=true")[1]["poses"]
    assert pose["box"] == [0, 0, 640, 425]
    assert len(pose["heatmaps"]) == 1 + len(pose["keypoints"]) == 18
    assert all(url.startswith("data:image/jpeg;base64,") for url in pose["heatmaps"])
    assert "heatmaps" not in server.poses(picture.read_bytes())[1]["poses"][0]


def test_responses_match_the_openapi_description(server, picture):
    document = json.loads(server.ask("/openapi.json")[2])
    OpenAPI.model_validate(document)
    assert set(document["paths"]) == {"/poses", "/model", "/health", "/metrics"}
    assert set(document["paths"]["/poses"]["post"]["requestBody"]["content"]) == {
        "image/*",
        "application/octet-stream",
    }
    for method, path, body, expected in (
        ("post", "/poses", picture.read_bytes(), 200),
        ("post", "/poses", b"", 422),
        ("get", "/model", None, 200),
        ("get", "/health", None, 200),
    ):
        status, _, content = server.ask(path, body)
        responses = document["paths"][path][method]["responses"]
        schema = responses[str(status)]["content"]["application/json"]["schema"]
        jsonschema.validate(json.loads(content), schema | {"components": document["components"]})
        assert status == expected


def test_the_model_is_described(server):
    model = json.loads(server.ask("/model")[2])
    assert model["keypoints"][:2] == ["nose", "left_eye"] and [0, 1] in [sorted(edge) for edge in model["edges"]]
    assert (model["max_bytes"], model["max_boxes"], model["max_pixels"]) == (MAX_BYTES, MAX_BOXES, 64_000_000)


def test_gray_transparent_and_rotated_pictures_are_read(server, picture):
    image = cv2.cvtColor(read(picture, upright=True), cv2.COLOR_RGB2BGR)
    for view in (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)):
        assert server.poses(cv2.imencode(".png", view)[1].tobytes())[0] == 200
    # EXIF data with one entry, big-endian: orientation 6, a rotation by 90 degrees.
    turn = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    turned = jpeg[:2] + b"\xff\xe1" + (len(turn) + 2).to_bytes(2, "big") + turn + jpeg[2:]
    answer = server.poses(turned)[1]
    assert (answer["width"], answer["height"]) == (425, 640)


def test_other_formats_come_back_as_jpeg(server, picture):
    image = cv2.imread(str(picture))
    for suffix in (".tiff", ".jp2", ".ppm"):
        status, answer = server.poses(cv2.imencode(suffix, image)[1].tobytes(), query="heatmaps=true")
        kind, _, data = answer["picture"].partition(",")
        assert status == 200 and kind == "data:image/jpeg;base64", suffix
        shown = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape == image.shape and np.abs(shown.astype(int) - image).mean() < 5
    for suffix in (".jpg", ".png", ".webp", ".gif", ".bmp", ".avif"):
        _, answer = server.poses(cv2.imencode(suffix, image)[1].tobytes(), query="heatmaps=true")
        assert "picture" not in answer and len(answer["poses"]) == 1, suffix


def test_animations_are_refused(server, tmp_path):
    animation = cv2.Animation()
    animation.frames = [np.full((24, 36, 3), 20 * i, np.uint8) for i in range(3)]
    animation.durations = [40] * 3
    assert cv2.imwriteanimation(str(tmp_path / "animation.gif"), animation)
    status, answer = server.poses((tmp_path / "animation.gif").read_bytes())
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
        ("[[", "not a JSON list"),
        ("5", "have the shape ()"),
        ([[10**400, 0, 5, 5]], "the boxes are not numbers"),
        ({"x": 1}, "the boxes are not numbers"),
    ],
)
def test_invalid_boxes_are_refused(server, picture, boxes, line):
    status, answer = server.poses(picture.read_bytes(), boxes)
    assert status == 422 and line in answer["error"]


def test_unreadable_files_are_refused(server, bad_files, picture):
    for content in (bad_files["text"].read_bytes(), b"", picture.read_bytes()[:300]):
        status, answer = server.poses(content)
        assert status == 422
        assert (
            answer["error"]
            == f"The file is {len(content)} bytes that are not an image. Choose a JPEG, PNG or WebP picture."
        )


def test_too_many_pixels_are_refused_before_decoding(server, bad_files):
    content = bad_files["huge"].read_bytes()
    assert len(content) < MAX_BYTES
    before_kb = server.peak_memory_kb()
    status, answer = server.poses(content)
    assert status == 422 and "more than 64 million pixels; make it smaller" in answer["error"]
    assert server.peak_memory_kb() - before_kb < 50_000, "decoded, it takes 1.2 GB"


def test_a_file_of_too_many_bytes_is_refused(server):
    status, answer = server.poses(bytes(MAX_BYTES + 1))
    assert (status, answer["error"]) == (413, "The file is larger than 20 MiB. Choose a smaller one.")


def test_other_sites_cannot_use_the_server(server):
    status, answer = server.poses(b"picture", headers={"Content-Type": "text/plain"})
    assert status == 415 and answer["error"].startswith("Content-Type is 'text/plain'; send the picture's bytes as")
    status, headers, _ = server.ask("/poses", method="OPTIONS", headers={"Origin": "http://example.com"})
    assert status == 405 and not any(name.lower().startswith("access-control") for name in headers)
    for host in ("example.com", f"localhost.example.com:{server.port}", ""):
        status, _, content = server.ask("/model", headers={"Host": host})
        assert status == 400 and json.loads(content)["error"].startswith(f"The Host is '{host.partition(':')[0]}'; use")
    assert server.ask("/model", headers={"Host": "LOCALHOST"})[0] == 200


def test_other_methods_are_refused(server):
    for method, path in (("GET", "/poses"), ("PUT", "/poses"), ("POST", "/model"), ("POST", "/health")):
        status, _, content = server.ask(path, method=method)
        assert (status, json.loads(content)) == (405, {"error": "Method Not Allowed"}), (method, path)


def test_only_the_pages_own_files_are_served(server):
    status, headers, content = server.ask("/")
    assert status == 200 and b"<h1>" in content
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    for path in ("/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "/server.py"):
        assert server.ask(path)[0] == 404, path


def test_the_server_listens_on_one_address_only(server):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=5)


def test_a_port_in_use_is_refused(server, workdir):
    command = [sys.executable, "-m", "mamkpd_jax", "serve", f"--checkpoint={workdir}", f"--port={server.port}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"error: can't listen on 127.0.0.1, port {server.port} (Address already in use); give another"
    )


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--host=", "--host is empty, which would listen on all addresses; "),
        ("--max_mib=inf", "flag --max_mib=inf: give a finite number"),
        ("--read_timeout_s=nan", "flag --read_timeout_s=nan: give a finite number"),
        ("--boxes=whole --classes=dog", "--classes has no effect with --boxes=whole"),
        ("--boxes=nanodet --detector=yolo", "--detector has no effect with --boxes=nanodet; leave it out"),
        ("--boxes=nanodet --classes=goat", "--classes names 'goat'; expected an index below 80, or one of person, "),
    ],
)
def test_invalid_flags_are_refused(workdir, flag, line):
    command = [sys.executable, "-m", "mamkpd_jax", "serve", f"--checkpoint={workdir}", "--port=0", *flag.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(f"error: {line}")


@pytest.mark.slow  # starts a server
def test_the_server_listens_on_ipv6_loopback(workdir, tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with started(workdir, tmp_path, "--boxes=whole", "--host=::1") as server:
        for host, expected in ((f"[::1]:{server.port}", 200), ("localhost", 200), ("example.com", 400), ("[", 400)):
            with contextlib.closing(http.client.HTTPConnection("::1", server.port, timeout=30)) as connection:
                connection.request("GET", "/model", headers={"Host": host})
                assert connection.getresponse().status == expected, host


@pytest.mark.slow  # starts a server
def test_refused_requests_are_not_logged(workdir, tmp_path):
    with (tmp_path / "log").open("w+") as log:
        with started(workdir, tmp_path, "--boxes=whole", stderr=log) as server:
            before = os.fstat(log.fileno()).st_size
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
                connection.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
                assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
            assert server.poses(b"no picture")[0] == 422
        assert os.fstat(log.fileno()).st_size == before


def test_the_server_writes_no_files(server, picture):
    assert server.poses(picture.read_bytes())[0] == 200
    assert not [name for _, folders, files in os.walk(server.folder) for name in folders + files]
