"""Pictures from web addresses, on a local server."""

import http.server
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.addresses import MAX_BYTES, download

PNG = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8))[1].tobytes()


class _Handler(http.server.BaseHTTPRequestHandler):
    """A server that behaves differently for each path."""

    def do_GET(self):
        name = urlsplit(self.path).path
        redirections = {"/moved": "/photo.png", "/loop": "/loop", "/file": "file:///etc/hostname", "/ftp": "ftp://a/b"}
        if name in redirections:
            self.send_response(302)
            self.send_header("Location", redirections[name])
            self.end_headers()
        elif name in ("/photo.png", "/two%20words.png", "/text.jpg"):
            content = PNG if name.endswith("png") else b"<html>no picture</html>"
            self._send(content, len(content))
        elif name == "/huge":
            self._send(b"", 10**12)
        elif name == "/endless":  # without a length
            self._send(PNG * 100, None)
        elif name == "/cut.png":
            self._send(PNG[:-9], len(PNG))
        elif name == "/slow":
            self._send(b"x", 100)
            for _ in range(20):
                time.sleep(0.1)
                self.wfile.write(b"x")
        elif name == "/silent":
            time.sleep(2)
        elif name == "/agent" and "Python" not in self.headers["User-Agent"]:
            self._send(PNG, len(PNG))
        else:
            self.send_error(404)

    def _send(self, content: bytes, announced: int | None):
        self.send_response(200)
        if announced is not None:
            self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):  # clients disconnect early
        pass


@pytest.fixture(scope="module")
def server():
    with _Server(("127.0.0.1", 0), _Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_an_address_is_read_as_its_file(server, predictor):
    (expected,) = predictor(PNG, "whole")
    for address in (f"{server}/photo.png", f"HTTP{server[4:]}/photo.png?size=2#top", f"{server}/moved"):
        (result,) = predictor(address, "whole")
        np.testing.assert_array_equal(result.keypoints, expected.keypoints)
        np.testing.assert_array_equal(result.draw(threshold=np.inf), decode_image(PNG))
    assert download(f"{server}/agent").content == PNG
    assert download(f"{server}/two words.png").name == "two_words.png"
    assert download(f"{server}/photo.png?a=/b.jpg").name == "photo.png"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/none.jpg", r"/none.jpg can't be downloaded: the server answers 404 \(Not Found\)"),
        ("/text.jpg", "/text.jpg is 23 bytes that are not an image"),
        ("/huge", f"/huge is larger than {MAX_BYTES >> 20} MiB; download it, and give the file"),
        ("/cut.png", f"/cut.png ends after {len(PNG) - 9} of {len(PNG)} bytes; try again"),
        ("/file", r"/file can't be downloaded: the server answers 302 \(.*'file:///etc/hostname' is not allowed\)"),
        ("/ftp", r"/ftp can't be downloaded \(unknown url type: ftp\)"),
        ("/loop", "/loop can't be downloaded: the server answers 302 .*infinite loop"),
    ],
)
def test_unavailable_addresses_end_in_one_line(server, predictor, path, message):
    with pytest.raises(UserError, match=message) as error:
        predictor(server + path, "whole")
    assert "\n" not in str(error.value) and server in str(error.value)
    failed, result = predictor.stream([(server + path, "whole"), (f"{server}/photo.png", "whole")])
    assert isinstance(failed, UserError) and len(result) == 1


def test_endless_downloads_are_refused(server):
    with pytest.raises(UserError, match="/endless is larger than 0.00390625 MiB"):
        download(f"{server}/endless", max_bytes=4096)


@pytest.mark.parametrize("path", ["/slow", "/silent"])
def test_slow_servers_time_out(server, path):
    start_s = time.monotonic()
    with pytest.raises(UserError, match=rf"{path} can't be downloaded (within 0.5 s|\(timed out\))"):
        download(server + path, timeout_s=0.5)
    assert time.monotonic() - start_s < 1.5


def test_unreachable_and_invalid_addresses_are_refused(server):
    with pytest.raises(UserError, match=r"http://127.0.0.1:1/a.jpg can't be downloaded \(.*Connection refused"):
        download("http://127.0.0.1:1/a.jpg")
    for odd in ("http://", "http://[::1/a.jpg", "https://a b/c.jpg", "http://127.0.0.1:port/a.jpg"):
        with pytest.raises(UserError, match="can't be downloaded"):
            download(odd)


def test_passwords_are_not_in_messages(server):
    with pytest.raises(UserError, match=f"^{server}/a.jpg was given with a user name") as error:
        download(f"{server[:7]}me:se@cret@{server[7:]}/a.jpg")
    assert "cret" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("", "picture"),
        ("/", "picture"),
        ("/..%2f..%2fetc%2f", "picture"),
        ("/a%2f%2e%2e%2f.b%00c.jpg", "b_c.jpg"),
        (f"/{'漢' * 99}.jpg", f"{'漢' * 32}.jpg"),  # three bytes each
    ],
)
def test_names_of_downloads_are_safe(server, path, name, monkeypatch, tmp_path):
    monkeypatch.setattr(_Handler, "do_GET", lambda self: self._send(PNG, len(PNG)))
    found = download(server + path)
    assert found.name == name and found.save(tmp_path / "new") == Path(tmp_path, "new", name)
    assert (tmp_path / "new" / name).read_bytes() == PNG
