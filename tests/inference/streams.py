"""Local servers that stream a video file like real ones."""

import contextlib
import http.server
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import av

from tests import static_server


def http_server(folder: Path) -> contextlib.AbstractContextManager[str]:
    """Serves a folder; yields its address."""
    return static_server.serve(folder, http.server.SimpleHTTPRequestHandler)


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Accepts connections and never responds; yields its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def rtsp_server(video: Path) -> Iterator[str]:
    """Plays an H.264 file to one client, over TCP, and then closes the connection; yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, video))
        thread.start()
        yield f"rtsp://user:secret@127.0.0.1:{server.getsockname()[1]}/{video.stem}"
        thread.join(timeout=20)


def _serve(server: socket.socket, video: Path) -> None:
    connection, _ = server.accept()
    description = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    )
    description += "a=fmtp:96 packetization-mode=1\r\na=control:video\r\n"
    answers = {
        "OPTIONS": ("Public: DESCRIBE, SETUP, PLAY, TEARDOWN", ""),
        "DESCRIBE": (f"Content-Type: application/sdp\r\nContent-Length: {len(description)}", description),
        "SETUP": ("Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1", ""),
        "PLAY": ("Session: 1", ""),
    }
    with connection, connection.makefile("rb") as requests:
        for line in requests:
            method = line.split(b" ")[0].decode()
            head = b"".join(iter(requests.readline, b"\r\n")).decode()
            number = re.search(r"CSeq: (\d+)", head)
            assert number is not None
            fields, body = answers[method]
            connection.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {number[1]}\r\n{fields}\r\n\r\n{body}".encode())
            if method == "PLAY":
                for packet in _rtp(video):
                    connection.sendall(b"$\x00" + len(packet).to_bytes(2, "big") + packet)
                return


def _rtp(video: Path) -> Iterator[bytes]:
    """The RTP packets of a file, which FFmpeg sends to a local socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.2)
        address = f"rtp://127.0.0.1:{receiver.getsockname()[1]}"
        with av.open(str(video)) as source, av.open(address, "w", format="rtp") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
                    with contextlib.suppress(TimeoutError):
                        while True:
                            yield receiver.recv(65536)
