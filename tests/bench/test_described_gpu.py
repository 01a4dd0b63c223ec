"""The kernels lower for GPUs that are not here."""

import functools

import jax
import jax.numpy as jnp
import pytest

from mamkpd_jax.bench.described_gpu import H200, RTX_4090, grids, lower
from mamkpd_jax.ops.selective_scan import pallas_triton
from mamkpd_jax.ops.selective_scan.workloads import WORKLOADS, Workload


@pytest.mark.parametrize("card", [H200, pytest.param(RTX_4090, marks=pytest.mark.slow)])
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

    kernels = grids(lower(with_gradients, work.shapes(batch, dtype)[:5], card))
    in_segments = ["ends", "forward", "adjoint_ends", "backward"]
    assert list(kernels) == [f"selective_scan_{name}" for name in (in_segments if batch == 1 else in_segments[1::2])]


def test_a_plain_scan_lowers_to_triton():
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in [(2, 33, 6), (2, 33, 6), (6, 2), (2, 33, 2), (2, 33, 2)]]
    scan = functools.partial(pallas_triton.plain, reverse=True)
    assert list(grids(lower(scan, shapes, H200))) == ["selective_scan_ends", "selective_scan_forward"]
