"""The kernels of a compiled program and the bytes that they move."""

from mamkpd_jax.bench import hlo

PROGRAM = """HloModule jit_f

%fused_slices (param_0: bf16[64,96], param_1: f32[96]) -> bf16[32,96] {
  %param_1 = f32[96]{0} parameter(1)
  %param_0 = bf16[64,96]{1,0} parameter(0)
  %bitcast.1 = bf16[64,96]{1,0} bitcast(%param_0)
  %slice.1 = bf16[16,96]{1,0} slice(%bitcast.1), slice={[0:16], [0:96]}
  %slice.2 = bf16[16,96]{1,0} slice(%param_0), slice={[16:32], [0:96]}
  ROOT %concatenate.1 = bf16[32,96]{1,0} concatenate(%slice.1, %slice.2), dimensions={0}
}

ENTRY %main (x: bf16[64,96], w: f32[96]) -> (bf16[32,96], f32[64]) {
  %x = bf16[64,96]{1,0} parameter(0)
  %w = f32[96]{0} parameter(1)
  %fusion.1 = bf16[32,96]{1,0} fusion(%x, %w), kind=kLoop, calls=%fused_slices, metadata={op_name="jit(f)/first"}
  %custom-call.1 = (f32[64]{0}, s8[1024]{0}) custom-call(%x, %fusion.1), custom_call_target="__cublas$gemm"
  %get-tuple-element.1 = f32[64]{0} get-tuple-element(%custom-call.1), index=0
  ROOT %tuple.1 = (bf16[32,96]{1,0}, f32[64]{0}) tuple(%fusion.1, %get-tuple-element.1)
}
"""


def test_kernels_move_their_operands_and_results():
    fusion, product = hlo.kernels(PROGRAM)
    assert (fusion.name, fusion.origin, product.name) == ("fusion.1", "jit(f)/first", "custom-call.1")
    # The fusion reads two slices of 16 rows of x, and nothing of w, which it does not use.
    assert fusion.moved_bytes == 2 * 96 * (16 + 16 + 32)
    # A library's workspace does not count.
    assert product.moved_bytes == 2 * 96 * (64 + 32) + 4 * 64


def test_sizes_of_small_types():
    program = "ENTRY %main (x: pred[8]) -> s4[8] {\n  %x = pred[8]{0} parameter(0)\n  ROOT %y = s4[8] convert(%x)\n}\n"
    assert [kernel.moved_bytes for kernel in hlo.kernels(program)] == [8 + 8]
