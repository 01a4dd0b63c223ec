"""A server as a person starts it, and requests to it."""

import contextlib
import dataclasses
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Server:
    """Where it listens, and the folder that it runs in, temporary files included."""

    port: int
    folder: Path
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, path: str, body: Any = None, *, method: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """The status, headers and content of an answer."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            types = {} if body is None else {"Content-Type": "application/octet-stream"}
            connection.request(method or ("GET" if body is None else "POST"), path, body, types | (headers or {}))
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()

    def poses(self, body: Any, boxes: Any = None, *, query: str = "", **options: Any) -> tuple[int, Any]:
        """The status and JSON of the answer to a picture."""
        text = "" if boxes is None else f"&boxes={quote(boxes if isinstance(boxes, str) else json.dumps(boxes))}"
        status, _, content = self.ask(f"/poses?{query}{text}", body, **options)
        return status, json.loads(content)

    def metrics(self) -> dict[str, float]:
        """The values of /metrics by name, without buckets; the requests by status as "200"."""
        families = text_string_to_metric_families(self.ask("/metrics")[2].decode())
        samples = [sample for family in families for sample in family.samples if "le" not in sample.labels]
        return {sample.labels.get("status", sample.name): sample.value for sample in samples if sample.value < 1e9}

    def peak_memory_kb(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(text.split("VmHWM:")[1].split()[0])


@contextlib.contextmanager
def started(checkpoint: Path, folder: Path, *flags: str, stderr: IO[str] | None = None) -> Iterator[Server]:
    """A server in a folder, which is ended after use if it still runs."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "mamkpd_jax", "serve", f"--checkpoint={checkpoint}", "--port=0", *flags]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as process:
        assert process.stdout is not None
        # It closes its output when it ends early.
        lines = iter(process.stdout.readline, "")
        ports = (match[1] for line in lines if (match := re.search(r"ready: http://\S+:(\d+) ", line)))
        port = next(ports, None)
        assert port is not None, "it ended before it listened; its errors are above"
        yield Server(int(port), folder, process)
        process.terminate()
