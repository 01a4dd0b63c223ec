"""Slow, disconnecting or greedy clients affect no others; the server shuts down cleanly."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from tests.serving.servers import ROOT, started

WAIT_S, TIMEOUT_S = 2.0, 2.0
FLAGS = ("--boxes=whole", "--batch_size=4", f"--max_wait_ms={WAIT_S * 1e3}", f"--read_timeout_s={TIMEOUT_S}")


@pytest.fixture(scope="module")
def server(workdir, tmp_path_factory):
    """A server whose crops wait WAIT_S for others, and which runs at most three requests at once."""
    with started(workdir, tmp_path_factory.mktemp("server"), *FLAGS, "--max_requests=3", "--max_mib=1") as server:
        yield server


@contextlib.contextmanager
def connected(server, head="", body=b"", *, length, path="/poses"):
    """A connection that has sent a request's header and a part of its body."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = head or f"Content-Length: {length}"
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: image/jpeg", head]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        yield connection


def answer_of(connection):
    """The status and headers of the response, and the seconds until it arrives."""
    start = time.monotonic()
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status, response.headers, time.monotonic() - start


def wait_for(server, **values):
    """Waits until /metrics has these values."""
    end = time.monotonic() + 20
    while {name: server.metrics().get(name) for name in values} != values:
        assert time.monotonic() < end, server.metrics()
        time.sleep(0.02)


def test_concurrent_requests_share_a_batch(server, picture):
    before, start = server.metrics(), time.monotonic()
    boxes = [[280, 44, 218, 346], [0, 0, 640, 425]]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: server.poses(picture.read_bytes(), boxes), range(2)))
    assert [status for status, _ in answers] == [200, 200] and time.monotonic() - start < WAIT_S
    after = server.metrics()
    grown = {name: after[name] - before[name] for name in ("mamkpd_batch_crops_count", "mamkpd_batch_crops_sum")}
    assert grown == {"mamkpd_batch_crops_count": 1, "mamkpd_batch_crops_sum": 4}
    assert (
        after["200"] - before.get("200", 0)
        == after["mamkpd_request_seconds_count"] - before["mamkpd_request_seconds_count"]
    )
    assert after["process_resident_memory_bytes"] > 1e8


def test_a_single_crop_runs_at_its_deadline(server, picture):
    start = time.monotonic()
    assert server.poses(picture.read_bytes())[0] == 200
    assert WAIT_S <= time.monotonic() - start < 2 * WAIT_S


def test_too_many_requests_are_refused_unread(server, picture):
    data = picture.read_bytes()
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(server.poses, data) for _ in range(3)]
        wait_for(server, mamkpd_running_requests=3)
        with connected(server, length=2**19) as connection:
            status, headers, seconds = answer_of(connection)
        assert (status, headers["Retry-After"]) == (503, "1") and seconds < WAIT_S / 2
        assert [request.result()[0] for request in running] == [200] * 3
    assert server.poses(data)[0] == 200


def test_a_disconnected_client_costs_no_batch(server, picture):
    data = picture.read_bytes()
    before = server.metrics()
    with connected(server, body=data, length=len(data)):
        wait_for(server, mamkpd_waiting_crops=1)
    with connected(server, body=data[:100], length=len(data)):
        wait_for(server, mamkpd_running_requests=1)
    wait_for(server, mamkpd_running_requests=0, **{"499": before.get("499", 0) + 2})
    time.sleep(1.2 * WAIT_S)
    after = server.metrics()
    assert after["mamkpd_waiting_crops"] == 0
    assert after["mamkpd_batch_crops_sum"] == before["mamkpd_batch_crops_sum"]


def test_a_slow_picture_is_refused_and_delays_nobody(server, picture):
    data = picture.read_bytes()
    with connected(server, body=data[:100], length=len(data)) as connection:
        stop = threading.Event()

        def drip():
            with contextlib.suppress(OSError):
                while not stop.wait(0.1):
                    connection.sendall(b"\0")

        dripping = threading.Thread(target=drip)
        dripping.start()
        start = time.monotonic()
        assert server.poses(data)[0] == 200 and time.monotonic() - start < 2 * WAIT_S
        assert answer_of(connection)[0] == 408
        assert time.monotonic() - start < 2 * TIMEOUT_S
        stop.set()
        dripping.join()


@pytest.mark.parametrize(
    "parts",
    [(), (b"POST /poses HTTP/1.1\r\nHost: loc",), (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"G")],
)
def test_a_slow_header_closes_the_connection(server, parts):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        start = time.monotonic()
        for part in parts:
            connection.sendall(part)
            time.sleep(0.2)
        while connection.recv(4096):
            pass
    assert 0.8 * TIMEOUT_S < time.monotonic() - start < 3 * TIMEOUT_S


def test_a_refused_request_is_cut_off(server):
    start = time.monotonic()
    with connected(server, length=2**30) as connection, contextlib.suppress(ConnectionError):
        assert answer_of(connection)[0] == 413
        while time.monotonic() < start + 20:
            connection.sendall(bytes(100))
            time.sleep(0.05)
    assert time.monotonic() - start < 3 * TIMEOUT_S


def test_an_unread_response_closes_the_connection(server, picture):
    data, boxes = picture.read_bytes(), [[280, 44, 218, 346]] * 32
    path = f"/poses?heatmaps=true&boxes={quote(json.dumps(boxes))}"
    with connected(server, path=path, body=data, length=len(data)) as connection:
        start = time.monotonic()
        while server.metrics()["mamkpd_request_seconds_count"] == 0 or server.metrics()["mamkpd_running_requests"]:
            time.sleep(0.05)
        time.sleep(2 * TIMEOUT_S)
        with pytest.raises((ConnectionError, http.client.IncompleteRead)):
            answer_of(connection)
        assert time.monotonic() - start < 30


def test_a_large_chunked_picture_is_refused(server):
    chunk = b"10000\r\n" + bytes(2**16) + b"\r\n"
    with connected(server, "Transfer-Encoding: chunked", length=0) as connection:
        for _ in range(17):
            connection.sendall(chunk)
        assert answer_of(connection)[0] == 413


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_lets_running_requests_finish(number, workdir, picture, tmp_path):
    with started(workdir, tmp_path, *FLAGS) as server, ThreadPoolExecutor(2) as pool:
        running = [pool.submit(server.poses, picture.read_bytes()) for _ in range(2)]
        wait_for(server, mamkpd_waiting_crops=2)
        server.process.send_signal(number)
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            server.ask("/health")
        assert [request.result()[0] for request in running] == [200, 200]
        assert server.process.wait(10) == 0


@pytest.mark.slow
def test_a_signal_during_startup_stops_the_server(workdir, tmp_path):
    with started(workdir, tmp_path, *FLAGS) as server:
        server.process.terminate()  # perhaps before uvicorn handles signals
        assert server.process.wait(10) == 0


@pytest.mark.slow
def test_ctrl_c_during_startup_has_no_traceback(workdir):
    command = [sys.executable, "-m", "mamkpd_jax", "serve", f"--checkpoint={workdir}", "--port=0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "preparing the model\n"
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.communicate()[1]
    assert process.returncode == -signal.SIGINT


@pytest.mark.slow
def test_the_time_to_shut_down_is_limited(workdir, picture, tmp_path):
    flags = ("--boxes=whole", "--max_wait_ms=60000", "--grace_s=1")
    with started(workdir, tmp_path, *flags) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.ask, "/poses", picture.read_bytes())
        wait_for(server, mamkpd_waiting_crops=1)
        server.process.terminate()
        assert server.process.wait(10) == 0
