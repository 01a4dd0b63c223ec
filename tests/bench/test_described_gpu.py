"""The kernels lower and compile for GPUs that the machine lacks, to the code of a real run."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from mamkpd_jax.bench import described_gpu
from mamkpd_jax.errors import UserError
from mamkpd_jax.ops.selective_scan.implementations import pallas_triton
from mamkpd_jax.ops.selective_scan.workloads import WORKLOADS, Workload


@pytest.mark.parametrize("card", [described_gpu.H200, pytest.param(described_gpu.RTX_4090, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("work", "batch", "dtype"),
    [
        (WORKLOADS["base stage 1"], 1, jnp.bfloat16),
        (WORKLOADS["base stage 1"], 64, jnp.bfloat16),
        (WORKLOADS["base stage 3"], 1, jnp.float32),
        (Workload(5, 7, 40, 3, n=4), 64, jnp.float16),
        (Workload(8, 6, 20, 3, n=16), 1, jnp.bfloat16),
    ],
)
def test_forward_and_backward_lower_to_triton(card, work, batch, dtype):
    def with_gradients(*arrays):
        y, pullback = jax.vjp(pallas_triton.ss2d, *arrays)
        return y, pullback(y)

    kernels = described_gpu.grids(described_gpu.lower(with_gradients, work.shapes(batch, dtype), card))
    in_segments = ["ends", "forward", "adjoint_ends", "backward"]
    assert list(kernels) == [f"selective_scan_{name}" for name in (in_segments if batch == 1 else in_segments[1::2])]


def test_plain_scan_lowers_to_triton():
    shapes = (2, 33, 6), (2, 33, 6), (6, 2), (2, 33, 2), (2, 33, 2), (6,)
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    lowered = described_gpu.lower(functools.partial(pallas_triton.plain, reverse=True), arguments, described_gpu.H200)
    assert list(described_gpu.grids(lowered)) == ["selective_scan_ends", "selective_scan_forward"]


@pytest.fixture
def compiler() -> None:
    try:
        described_gpu.cuda_folder()
    except UserError as missing:
        pytest.skip(f"the CUDA compiler is missing: {missing}")


def ptx() -> str:
    """The PTX of a plain scan over eight tokens."""
    shapes = (2, 8, 32), (2, 8, 32), (32, 1), (2, 8, 1), (2, 8, 1), (32,)
    scan = functools.partial(pallas_triton.plain, reverse=False)
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    (kernel,) = described_gpu.kernels(scan, arguments, described_gpu.H200).values()
    return kernel.ptx


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_compilation_cache_is_not_used():
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    try:
        assert ptx() == ptx()
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_xla_flags_do_not_change_the_code():
    code = "from tests.bench.test_described_gpu import ptx; print(ptx())"
    without = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "opt" in os.environ["XLA_FLAGS"]  # the tests' flags, which compile faster
    assert _instructions(done.stdout) == _instructions(ptx())


def _instructions(ptx: str) -> list[str]:
    """The lines of a PTX text, except those that name source locations."""
    lines = (line.strip() for line in ptx.splitlines())
    return [line for line in lines if line and not line.startswith((".loc", ".file", "//"))]
