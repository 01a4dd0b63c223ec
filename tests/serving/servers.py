"""A server that runs as a user starts it, and requests to it."""

import contextlib
import dataclasses
import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families

from mamkpd_jax.bench.load import server as load_test

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server. `folder` is its working directory and has its temporary files."""

    port: int
    folder: Path
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, path: str, body: Any = None, *, method: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Sends a request, and returns the status, headers and content of the response."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            types = {} if body is None else {"Content-Type": "application/octet-stream"}
            connection.request(method or ("GET" if body is None else "POST"), path, body, types | (headers or {}))
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()

    def poses(self, body: Any, boxes: Any = None, *, query: str = "", **options: Any) -> tuple[int, Any]:
        """Sends a picture, and returns the status and JSON of the response."""
        text = "" if boxes is None else f"&boxes={quote(boxes if isinstance(boxes, str) else json.dumps(boxes))}"
        status, _, content = self.ask(f"/poses?{query}{text}", body, **options)
        return status, json.loads(content)

    def metrics(self) -> dict[str, float]:
        """The values of /metrics by name, without buckets. Request counts have their status as name, such as "200"."""
        families = text_string_to_metric_families(self.ask("/metrics")[2].decode())
        samples = [sample for family in families for sample in family.samples if "le" not in sample.labels]
        return {sample.labels.get("status", sample.name): sample.value for sample in samples if sample.value < 1e9}

    def peak_memory_kb(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(text.split("VmHWM:")[1].split()[0])


@contextlib.contextmanager
def started(checkpoint: Path, folder: Path, *flags: str, stderr: IO[str] | None = None) -> Iterator[Server]:
    """Runs a server in a folder, and stops it after use."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    options = {"cwd": folder, "env": environment, "stderr": stderr}
    with load_test.started(f"--checkpoint={checkpoint}", *flags, **options) as server:
        yield Server(server.port, folder, server.process)
        server.process.terminate()
        server.process.wait()
