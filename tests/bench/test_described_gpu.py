"""Kernels that compile for a GPU that is not here are those of a real run, in every run."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from mamkpd_jax.bench import described_gpu
from mamkpd_jax.errors import UserError
from mamkpd_jax.ops.selective_scan import pallas_triton


@pytest.fixture(autouse=True)
def needs_the_compiler() -> None:
    try:
        described_gpu.cuda_folder()
    except UserError as missing:
        pytest.skip(f"the CUDA compiler is missing: {missing}")


def ptx() -> str:
    """Of a plain scan of eight tokens."""
    shapes = (2, 8, 32), (2, 8, 32), (32, 1), (2, 8, 1), (2, 8, 1)
    scan = functools.partial(pallas_triton.plain, reverse=False)
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    (kernel,) = described_gpu.kernels(scan, arguments, described_gpu.H200).values()
    return kernel.ptx


@pytest.mark.slow
def test_the_compilation_cache_is_left_out():
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    try:
        assert ptx() == ptx()
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


@pytest.mark.slow
def test_xla_flags_do_not_change_the_code():
    code = "from tests.bench.test_described_gpu import ptx; print(ptx())"
    without = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "opt" in os.environ["XLA_FLAGS"]  # the tests' own, which compile quickly
    assert _instructions(done.stdout) == _instructions(ptx())


def _instructions(ptx: str) -> list[str]:
    """Without the lines that name places in source files."""
    lines = (line.strip() for line in ptx.splitlines())
    return [line for line in lines if line and not line.startswith((".loc", ".file", "//"))]
