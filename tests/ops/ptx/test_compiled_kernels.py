"""The scan's kernels, compiled by XLA for an H200 and run on a CPU, against float64 loops and interpret mode.

These tests need the extra `kernel-report`. `pytest -m slow -s tests/ops/ptx` prints a table of errors, instructions and
seconds.
"""

import dataclasses
import functools
import re
import time
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from mamkpd_jax.bench import described_gpu
from mamkpd_jax.errors import UserError
from mamkpd_jax.ops.selective_scan import operands, pallas_triton_vjp, segments, tiling
from mamkpd_jax.ops.selective_scan.implementations import pallas_triton
from mamkpd_jax.ops.selective_scan.walk import Walk
from tests.ops.ptx.compiled_scan import Case, CompiledScan, error
from tests.ops.ptx.emulator import Kernel

pytestmark = pytest.mark.slow

# Sizes are small, because a kernel's code and its compile time grow with n and with the tokens of a chunk. A chunk has
# 4 tokens in a line of 12, and 2 or fewer if n is 4 or more. The model's kernels have chunks of 8.
_FP32, _BF16 = Case(h=12, w=3, n=1), Case(h=12, w=3, n=1, dtype="bfloat16")
_MASKED = Case(d=40)
CASES = {
    "fp32, n 1": _FP32,
    "fp32, n 4, d 40": _MASKED,
    "fp32, n 4, 5x7, d 40": Case(h=5, w=7, d=40),
    "fp32, n 4, one row": Case(h=1, w=13),
    "fp32, n 4, one column, d 96": Case(h=10, w=1, d=96, b=1),
    "fp32, n 4, batch 64": Case(h=2, w=3, b=64),
    "bf16, n 1": _BF16,
    "bf16, n 1, d 64, chunks of 8": Case(h=8, w=2, n=1, d=64, dtype="bfloat16"),
    "bf16, n 4, d 128, rank 3": Case(d=128, rank=3, b=1, dtype="bfloat16"),
    "bf16, n 1, d 64, rank 24": Case(n=1, h=4, d=64, rank=24, b=1, dtype="bfloat16"),
    "bf16, n 16": Case(h=3, w=3, n=16, b=1, dtype="bfloat16"),
    "fp16, n 4, d 96": Case(d=96, b=1, dtype="float16"),
    "plain fp32, n 1": Case(h=1, w=19, n=1, reverse=False),
    "plain fp32, n 4, reverse": Case(h=1, w=19, reverse=True),
    "plain fp32, n 16, reverse": Case(h=1, w=10, n=16, reverse=True),
    "plain bf16, n 4, d 96, reverse": Case(h=1, w=12, d=96, dtype="bfloat16", reverse=True),
}
_LARGE, _BEYOND_EXP, _TINY = ((20.0, 60.0), 0.0), ((80.0, 200.0), -5.0), ((-30.0, -18.0), 0.0)
DELTAS = {
    "fp32, n 1, large delta": (_FP32, _LARGE),
    "fp32, n 1, delta beyond exp": (_FP32, _BEYOND_EXP),
    "fp32, n 1, tiny delta": (_FP32, _TINY),
    "bf16, n 1, large delta": (_BF16, _LARGE),
    "bf16, n 1, delta beyond exp": (_BF16, _BEYOND_EXP),
    "bf16, n 1, tiny delta": (_BF16, _TINY),
}
# For y and the gradients against float64, and for the kernels against interpret mode.
_TOLERANCES = {"float32": (2e-6, 1e-5, 5e-6), "bfloat16": (1e-2, 2e-2, 8e-3), "float16": (1e-2, 2e-2, 1e-3)}


@pytest.fixture(scope="module", autouse=True)
def needs_the_compiler() -> None:
    try:
        described_gpu.cuda_folder()
    except UserError as missing:
        pytest.skip(f"the CUDA compiler is missing: {missing}")


@pytest.fixture(scope="module")
def compiled() -> Iterator:
    """Compiles a case, once."""
    print(f"\n{'case':32}{'y':>9}{'gradients':>11}{'compile s':>11}{'run s':>7}  instructions a program")
    yield functools.cache(CompiledScan)


def _check(name: str, scan: CompiledScan, **values) -> None:
    """Checks the scan's results against float64, and prints a row of the table, which pytest shows with -s."""
    case, arguments, dy = scan.case, scan.case.arguments(**values), scan.case.dy()
    start = time.process_time()
    y, gradients = scan(arguments, dy)
    seconds = time.process_time() - start
    expected_y, expected_gradients = case.expected(arguments, dy)
    of_y = error(y, expected_y)
    of_gradients = [error(ours, truth) for ours, truth in zip(gradients, expected_gradients, strict=True)]
    executed = ", ".join(f"{kernel.instructions:.0f}" for kernel in scan.kernels.values())
    print(f"{name:32}{of_y:9.1e}{max(of_gradients):11.1e}{scan.compile_seconds:11.1f}{seconds:7.1f}  {executed}")
    limit_y, limit_gradients, _ = _TOLERANCES[case.dtype]
    assert of_y < limit_y, "y is wrong"
    for argument, found in zip(case.names, of_gradients, strict=True):
        assert found < limit_gradients, f"the gradient of {argument} is wrong"


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name, compiled):
    scan = compiled(CASES[name])
    _check(name, scan)
    in_segments = ["ends", "forward", "adjoint_ends", "backward"]
    expected = in_segments[1::2] if "batch 64" in name else in_segments
    assert list(scan.kernels) == [f"selective_scan_{kernel}" for kernel in expected]


def test_prefetching_keeps_the_results(compiled, monkeypatch):
    plan = pallas_triton.plan
    monkeypatch.setattr(pallas_triton, "plan", lambda *sizes: dataclasses.replace(plan(*sizes), prefetch=True))
    _check("bf16, n 1, loads ahead", CompiledScan(_BF16))


@pytest.mark.parametrize("name", DELTAS)
def test_extreme_deltas(name, compiled):
    case, (bias, a_log) = DELTAS[name]
    _check(name, compiled(case), bias=bias, a_log=a_log)


@pytest.mark.parametrize("name", ["fp32, n 4, d 40", "plain bf16, n 4, d 96, reverse"])
def test_kernels_agree_with_interpret_mode(name, compiled):
    scan = compiled(CASES[name])
    scan(scan.case.arguments(), scan.case.dy())
    errors = scan.against_interpret_mode()
    print(f"{name:32}{', '.join(f'{kernel[15:]} {found:.1e}' for kernel, found in errors.items())}")
    assert errors.keys() == scan.kernels.keys()
    for kernel, found in errors.items():
        assert found < _TOLERANCES[scan.case.dtype][2], kernel


# The number of an argument, and a place in it; proj has low-rank delta, B and C.
_PLACES = {
    "u": (0, (0, 5, 1, 3)),
    "low-rank delta": (1, (0, 5, 1, slice(None), 0)),
    "B": (1, (0, 5, 1, slice(None), 2)),
    "C": (1, (0, 5, 1, slice(None), 3)),
    "dt_weight": (2, (1, 0, 3)),
    "dt_bias": (3, (1, 3)),
    "A_log": (4, (1, 3, 0)),
}


@functools.cache
def _sequential(case: Case):
    return jax.jit(case.with_gradients("sequential"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", _PLACES)
@pytest.mark.parametrize("case", [pytest.param(_FP32, id="fp32"), pytest.param(_BF16, id="bf16")])
def test_nan_and_infinity_reach_the_result(case, place, value, compiled):
    arguments, (number, index) = case.arguments(), _PLACES[place]
    arguments[number] = arguments[number].at[index].set(value)
    y, gradients = compiled(case)(arguments, case.dy())
    expected_y, expected_gradients = _sequential(case)(arguments, case.dy())
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected_y))
    # Where y is infinite, more gradients may be NaN than the reference's, but none may hide it.
    for name, ours, theirs in zip(case.names, gradients, expected_gradients, strict=True):
        assert not np.isfinite(ours[~np.isfinite(theirs)]).any(), f"the gradient of {name} is finite"
    if case.names[number] in ("u", "proj"):
        for ours in (y, *gradients[:2]):
            assert np.isfinite(ours[1]).all(), "one example of the batch reaches another"


# Faults in PTX: the kernel, a pattern, its replacement, whether to replace only the last occurrence, and the message.
_FAULTS_OF_CODE = {
    "a load without its mask": ("forward", r"@%p\d+ ld", "ld", False, "PtxError: .* bytes"),
    "a store without its mask": ("backward", r"@%p\d+ st", "st", True, "PtxError: "),
    "a store at the next element": ("forward", r"(st\.global.*) \+ 0", r"\1 + 4", True, "PtxError: "),
    "a misaligned store": ("ends", r"(st\.global.*) \+ 0", r"\1 + 2", True, "PtxError: .*misaligned"),
    "programs that do the same": ("forward", r"%ctaid\.z", "0", True, "PtxError: "),
    "a wrong sign in ends": ("ends", r"add\.rn", "sub.rn", True, "wrong"),
    "a wrong sign in forward": ("forward", r"add\.rn", "sub.rn", True, "wrong"),
    "a wrong sign in adjoint ends": ("adjoint_ends", r"add\.rn", "sub.rn", True, "wrong"),
    "a wrong sign in backward": ("backward", r"add\.rn", "sub.rn", True, "wrong|PtxError: "),
    "no exponential": ("forward", r"ex2\.approx\.ftz", "mov", True, "y is wrong"),
    "a sum over half of the channels": ("backward", r"(shfl\S*\s+\S+\s+\S+) 16,", r"\1 8,", True, "wrong|PtxError: "),
}


def _replaced(text: str, pattern: str, replacement: str, last: bool) -> str:
    """The text with all occurrences of a pattern replaced, or only the last one."""
    found = list(re.finditer(pattern, text))
    start = found[-1].start() if last else 0
    return text[:start] + re.sub(pattern, replacement, text[start:])


@pytest.mark.parametrize("fault", _FAULTS_OF_CODE)
def test_a_fault_in_compiled_code_is_found(fault, compiled, monkeypatch):
    kernel, pattern, replacement, last, message = _FAULTS_OF_CODE[fault]
    scan, name = compiled(_MASKED), f"selective_scan_{kernel}"
    monkeypatch.setitem(scan.kernels, name, Kernel(_replaced(scan.ptx[name], pattern, replacement, last)))
    with pytest.raises((AssertionError, jax.errors.JaxRuntimeError), match=message):
        _check(fault, scan)


# Faults in the kernels' source, which is compiled again. With 8 tokens, a program does a whole walk.
_SMALL, _IN_SEGMENTS = Case(h=1, w=8, d=40, reverse=True), Case(h=1, w=12, reverse=True)


def _walk_the_wrong_way(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tiling, "Walk", lambda direction, *sizes: Walk((direction + 2) % 4, *sizes))


def _drop_the_mask(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(operands.Operands, "_mask", property(lambda self: None, lambda self, value: None), raising=False)


def _misplace_checkpoints(patch: pytest.MonkeyPatch) -> None:
    store = operands.Operands.store

    def misplaced(self, ref, value, *index):
        *first, chunk, state = index
        if isinstance(chunk, jax.Array):
            index = *first, self.scan.n_chunks - 1 - chunk, state
        store(self, ref, value, *index)

    patch.setattr(operands.Operands, "store", misplaced)


def _flip_a_sign(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pallas_triton_vjp, "LN2", -pallas_triton_vjp.LN2)


def _start_from_zero(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pallas_triton, "start", lambda operands: segments.zeros(operands.scan))


_FAULTS_OF_KERNELS = {
    "the wrong way": (_SMALL, _walk_the_wrong_way, "y is wrong"),
    "no mask": (_SMALL, _drop_the_mask, "PtxError: "),
    "misplaced checkpoints": (_SMALL, _misplace_checkpoints, "gradient of delta is wrong"),
    "a wrong sign": (_SMALL, _flip_a_sign, "gradient of delta is wrong"),
    "segments that start from zero": (_IN_SEGMENTS, _start_from_zero, "y is wrong"),
}


@pytest.mark.parametrize("fault", _FAULTS_OF_KERNELS)
def test_a_fault_in_a_kernel_is_found(fault, monkeypatch):
    case, seed, message = _FAULTS_OF_KERNELS[fault]
    seed(monkeypatch)
    with pytest.raises((AssertionError, jax.errors.JaxRuntimeError), match=message):
        _check(fault, CompiledScan(case))
