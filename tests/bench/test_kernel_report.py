"""The kernels lower for GPUs that are not here, and the report reads machine code."""

import functools

import jax
import jax.numpy as jnp
import pytest

from mamkpd_jax.bench import kernel_report
from mamkpd_jax.ops.selective_scan import pallas_triton
from mamkpd_jax.ops.selective_scan.workloads import WORKLOADS, Workload


@pytest.mark.parametrize("card", ["NVIDIA H200", pytest.param("NVIDIA GeForce RTX 4090", marks=pytest.mark.slow)])
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

    modules = kernel_report.triton_ir(kernel_report.lower(with_gradients, work.shapes(batch, dtype)[:5], card))
    in_segments = ["ends", "forward", "adjoint_ends", "backward"]
    for module, kernel in zip(modules, in_segments if batch == 1 else in_segments[1::2], strict=True):
        assert f"@selective_scan_{kernel}(" in module


def test_a_plain_scan_lowers_to_triton():
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in [(2, 33, 6), (2, 33, 6), (6, 2), (2, 33, 2), (2, 33, 2)]]
    scan = functools.partial(pallas_triton.plain, reverse=True)
    assert "__gpu$xla.gpu.triton" in kernel_report.lower(scan, shapes, "NVIDIA H200").as_text()


def test_innermost_loops_are_counted():
    assembly = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/                   FFMA R2, R3, R4, R5 ;
        /*0020*/                   LDG.E R2, [R4.64] ;
        /*0030*/              @!P0 FFMA R2, R3, R4, R5 ;
        /*0040*/               @P1 BRA 0x20 ;
        /*0050*/               @P2 BRA 0x10 ;
        /*0060*/                   BRA 0x60 ;
    """
    assert [dict(loop) for loop in kernel_report.loops(assembly)] == [{"LDG": 1, "FFMA": 1, "BRA": 1}]
