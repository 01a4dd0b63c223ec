"""A running demo, as a person starts it."""

import dataclasses
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.artifact.conftest import random_weights
from tests.inference.conftest import config, workdir

__all__ = ["config", "random_weights", "workdir"]


@dataclasses.dataclass(frozen=True)
class Demo:
    """Where it listens, and the folder that it runs in, temporary files included."""

    port: int
    folder: Path
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def demo(workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    pytest.importorskip("starlette", reason="the extra `demo` is not installed")
    folder = tmp_path_factory.mktemp("demo")
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "mamkpd_jax", "demo", f"--checkpoint={workdir}", "--boxes=whole", "--port=0"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # It closes its output when it ends early.
        lines = iter(process.stdout.readline, "")
        port = next(
            (match[1] for line in lines if (match := re.search(r"open http://127\.0\.0\.1:(\d+) ", line))), None
        )
        assert port is not None, "it ended before it listened; its errors are above"
        yield Demo(int(port), folder, process.pid)
        process.terminate()


@pytest.fixture(scope="session")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A text file with a picture's name, and a complete picture of 20,000 x 20,000 pixels in some hundred kilobytes."""
    folder = tmp_path_factory.mktemp("bad_files")
    (folder / "text.png").write_text("no picture at all\n" * 20, encoding="utf-8")
    side = 20_000
    rows = zlib.compress(bytes(side * (1 + side // 8)), 1)  # black, 1 bit a pixel, a byte in front of each row
    head = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    chunks = b"".join(_chunk(kind, data) for kind, data in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")))
    (folder / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return {path.stem: path for path in folder.iterdir()}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
