"""The benchmark of start-up and latency in JAX and from an exported file."""

import pytest

from mamkpd_jax.artifact.checkpoints import read_checkpoint
from mamkpd_jax.bench.people import items
from mamkpd_jax.bench.programs.start import JAX, ONNX, OPENVINO, calls, start_s, starts
from mamkpd_jax.program import Options
from tests.inference.conftest import config, random_weights, workdir

__all__ = ["config", "random_weights", "workdir"]


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "picture.jpg").write_bytes(items()[0]["image"])
    return tmp_path / "picture.jpg"


@pytest.mark.slow
def test_starts_share_a_cache(workdir, picture, tmp_path):
    assert start_s(workdir, picture, tmp_path / "cache") > 0
    (entry,) = (tmp_path / "cache").rglob("jit_program-*-cache")
    assert start_s(workdir, picture, tmp_path / "cache") > 0
    assert list((tmp_path / "cache").rglob("jit_program-*-cache")) == [entry], "the second start must reuse the program"


@pytest.mark.slow
def test_all_engines_are_timed(workdir, picture, tmp_path):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    onnx = pytest.importorskip("mamkpd_jax.export.formats.onnx")
    onnx.save(read_checkpoint(workdir), tmp_path / "model.onnx", Options())
    times = starts(workdir, tmp_path / "model.onnx", picture, 1) | calls(workdir, tmp_path / "model.onnx", picture, 2)
    starts_of = [(JAX, "first start"), (JAX, "second start"), (ONNX, "start"), (OPENVINO, "start")]
    assert list(times) == [*starts_of, *((engine, "one person") for engine in (JAX, ONNX, OPENVINO))]
    assert [len(row) for row in times.values()] == [1, 1, 1, 1, 2, 2, 2]
    assert min(map(min, times.values())) > 0
