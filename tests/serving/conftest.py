"""A running server, and files that it must refuse."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.artifact.conftest import random_weights
from tests.inference.conftest import config, pictures, predictor, workdir

__all__ = ["config", "pictures", "predictor", "random_weights", "workdir"]


@pytest.fixture(scope="session")
def server(workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A server that uses each picture as one box, and no flip test, like `predictor`."""
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    from tests.serving.servers import started

    with started(
        workdir, tmp_path_factory.mktemp("server"), "--boxes=whole", "--noflip_test", "--batch_size=4"
    ) as server:
        yield server


@pytest.fixture(scope="session")
def picture(shared_data: Path) -> Path:
    return shared_data / "coco_mini" / "000000000785.jpg"


@pytest.fixture(scope="session")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A text file with a picture's name, and a complete picture of 20,000 x 20,000 pixels in a small file."""
    folder = tmp_path_factory.mktemp("bad_files")
    (folder / "text.png").write_text("no picture at all\n" * 20, encoding="utf-8")
    side = 20_000
    rows = zlib.compress(bytes(side * (1 + side // 8)), 1)  # black, 1 bit per pixel, a filter byte before each row
    head = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    chunks = b"".join(_chunk(kind, data) for kind, data in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")))
    (folder / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return {path.stem: path for path in folder.iterdir()}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
