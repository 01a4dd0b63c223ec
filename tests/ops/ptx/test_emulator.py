"""The emulator follows PTX's manual, and finds each fault that is seeded in a correct kernel."""

import numpy as np
import pytest

from tests.ops.ptx.emulator import Kernel
from tests.ops.ptx.errors import PtxError

# Each program takes a row of [rows, 24], adds one, and swaps the numbers of each pair.
_PTX = """
.version 9.0
.target sm_90a
.visible .entry add_one(
    .param .u64 .ptr .align 16 add_one_param_0,
    .param .u64 .ptr .align 256 add_one_param_1
)
.reqntid 32, 1, 1
{
    .reg .pred %p<3>;
    .reg .b32 %r<9>;
    .reg .b64 %rd<9>;
    ld.param.b64 %rd1, [add_one_param_0];
    ld.param.b64 %rd2, [add_one_param_1];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %tid.x;
    mad.lo.s32 %r3, %r1, 24, %r2;
    setp.lt.u32 %p1, %r2, 24;
    mul.wide.u32 %rd3, %r3, 4;
    add.s64 %rd4, %rd1, %rd3;
    add.s64 %rd5, %rd2, %rd3;
    // begin inline asm
    mov.u32 %r4, 0x0; @%p1 ld.global.b32 { %r4 }, [ %rd4 + 0 ];
    // end inline asm
    add.rn.f32 %r5, %r4, 0f3F800000;
    shfl.sync.bfly.b32 %r6, %r5, 1, 31, -1;
    setp.ne.b32 %p2, %r1, 0;
    @%p2 bra $L__BB0_2;
    @%p1 st.global.b32 [ %rd5 + 0 ], { %r6 };
    bra.uni $L__BB0_3;
$L__BB0_2:
    @%p1 st.global.b32 [ %rd5 + 0 ], { %r6 };
$L__BB0_3:
    ret;
}
"""
_ROW_0_OR_1 = "min.u32 %r8, %r1, 1; mad.lo.s32 %r3, %r8"


def _run(ptx: str, rows: int = 3) -> np.ndarray:
    x = np.arange(rows * 24, dtype=np.float32)
    (result,) = Kernel(ptx).run((rows,), [x], [((rows, 24), np.float32)], most_steps=1000)
    return result


def _changed(old: str, new: str) -> str:
    assert old in _PTX
    return _PTX.replace(old, new)


def test_a_correct_kernel_gives_its_results():
    kernel, x = Kernel(_PTX), np.arange(3 * 24, dtype=np.float32)
    (result,) = kernel.run((3,), [x], [((3, 24), np.float32)])
    np.testing.assert_array_equal(result, x.reshape(3, 12, 2)[..., ::-1].reshape(3, 24) + 1)
    assert kernel.instructions == (18 + 2 * 17) / 3  # the first program has one more, to jump


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("@%p1 ld", "ld", "byte 316 of buffer 0, which is an input and has 288", id="load out of bounds"),
        pytest.param("@%p1 st", "st", "two programs|byte 316 of buffer 1", id="store out of bounds"),
        pytest.param("add.s64 %rd4, %rd1", "sub.s64 %rd4, %rd1", "several", id="load before a buffer"),
        pytest.param("%rd4, %rd1", "%rd4, 0", "no buffer", id="null pointer"),
        pytest.param("[ %rd4 + 0 ]", "[ %rd4 + 2 ]", "misaligned for 4", id="misaligned load"),
        pytest.param("[ %rd5 + 0 ]", "[ %rd5 + 2 ]", "misaligned for 4", id="misaligned store"),
        pytest.param("%rd5, %rd2", "%rd5, %rd1", "store to an input", id="store to an input"),
        pytest.param("%rd4, %rd1", "%rd4, %rd2", "load from an output", id="load from an output"),
        pytest.param("mad.lo.s32 %r3, %r1", _ROW_0_OR_1, "two programs", id="race in one step"),
        pytest.param("%r1, 24, %r2;", "%r1, 20, %r2;", "written before|two programs", id="race"),
        pytest.param("bra.uni $L__BB0_3;", "", "written before", id="a second store"),
        pytest.param("[ %rd5 + 0 ]", "[ %rd2 + 0 ]", "threads write different values", id="race of threads"),
        pytest.param("%p1, %r2, 24;", "%p1, %r2, 22;", "24 of 288 bytes of output 0 were never", id="unwritten"),
        pytest.param("add.rn", "add.rz", "unknown instruction add.rz.f32", id="unknown instruction"),
        pytest.param("setp.ne.b32", "setp.ne.f64", "unknown instruction setp.ne.f64", id="unknown type"),
        pytest.param("%r5, %r4, 0f3F800000", "%r5, %r4", "number of operands", id="missing operand"),
        pytest.param("0f3F800000", "1", "constant 1", id="integer constant of a float"),
        pytest.param("add.rn.f32 %r5, %r4", "add.rn.f32 %r5, %r7", "%r7", id="read before written"),
        pytest.param("{ %r6 }", "{ %rd3 }", "another width", id="store of another width"),
        pytest.param("%r1, 0;\n    @%p2", "%r2, 0;\n    @%p2", "separates the threads", id="divergence in a warp"),
        pytest.param("1, 31, -1", "1, 31, 1", "a part of the warp", id="shuffle of some threads"),
        pytest.param("    ret;", "    bra.uni $L__BB0_3;", "more than 1000 steps", id="endless loop"),
        pytest.param(".reqntid 32", ".reqntid 128", "not one warp", id="several warps"),
        pytest.param(",\n    .param .u64 .ptr .align 256 add_one_param_1", "", "1 parameters for 2", id="parameters"),
    ],
)
def test_a_seeded_fault_is_found(old, new, message):
    with pytest.raises(PtxError, match=message):
        _run(_changed(old, new))


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("min.f32 %r5, 0f7FC00000, 0f40000000", 2.0),
        ("min.NaN.f32 %r5, 0f7FC00000, 0f40000000", np.nan),
        ("max.f32 %r5, 0f40000000, 0f7FC00000", 2.0),
        ("max.NaN.f32 %r5, 0f40000000, 0f7FC00000", np.nan),
        ("ex2.approx.ftz.f32 %r5, 0f41200000", 1024.0),
        ("ex2.approx.ftz.f32 %r5, 0fC3010000", 0.0),  # 2^-129, a subnormal number
        ("lg2.approx.ftz.f32 %r5, 0f44800000", 10.0),
        ("lg2.approx.ftz.f32 %r5, 0f00000001", -np.inf),  # of a subnormal number
        ("rcp.approx.ftz.f32 %r5, 0f40800000", 0.25),
        # (1 + 2^-12)^2 - 1: rounding the product first would lose its lowest bit.
        ("fma.rn.f32 %r5, 0f3F800800, 0f3F800800, 0fBF800000", 2.0**-11 + 2.0**-24),
        ("shl.b32 %r5, 0x7F, 23", 1.0),
        ("bfe.s32 %r7, 0x0C, 2, 2; add.s32 %r5, %r7, 0x3F800001", 1.0),  # two bits that are set are -1
        ("bfe.u32 %r7, 0x0C, 2, 2; add.s32 %r5, %r7, 0x3F7FFFFD", 1.0),
        ("shfl.sync.idx.b32 %r7, %r2, 3, 31, -1; add.s32 %r5, %r7, 0x3F7FFFFD", 1.0),
        ("xor.pred %p2, %p1, -1; xor.pred %p2, %p2, %p1; selp.f32 %r5, 0f3F800000, 0f00000000, %p2", 1.0),
        ("mul.hi.u32 %r5, 0xFE000000, 0x40000000", 1.0),
        ("cvt.rn.bf16x2.f32 %r5, 0f3F80FFFF, 0f00000000", 1.0078125),  # one and the next number of bf16
        ("mov.b64 %rd6, 0x3F80000040000000; add.rn.f32x2 %rd7, %rd6, %rd6; mov.b64 {%r5, %r7}, %rd7", 4.0),
    ],
)
def test_an_instruction_follows_the_manual(instruction, expected):
    found = _run(_changed("add.rn.f32 %r5, %r4, 0f3F800000", instruction))
    np.testing.assert_array_equal(found, np.float32(expected))


def test_a_predicate_of_nan_is_false():
    for compare in ("eq", "ne", "lt", "ge"):
        select = f"setp.{compare}.f32 %p2, 0f7FC00000, 0f40000000; selp.f32 %r5, 0f3F800000, 0f00000000, %p2"
        assert (_run(_changed("add.rn.f32 %r5, %r4, 0f3F800000", select)) == 0).all()
