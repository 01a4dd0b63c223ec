"""The norm's kernel, compiled by XLA for an H200 and run on a CPU, against float64 and interpret mode.

These tests need the extra `kernel-report`. The emulator has no shared memory, which the kernel uses for 64 features or
fewer.
"""

import functools
import re

import jax
import numpy as np
import pytest

from mamkpd_jax.bench import described_gpu
from mamkpd_jax.errors import UserError
from mamkpd_jax.ops import layer_norm_kernel
from tests.ops.norms import Case
from tests.ops.ptx.compiled_scan import error
from tests.ops.ptx.emulator import Kernel
from tests.ops.ptx.errors import PtxError

pytestmark = pytest.mark.slow

_INTERPRET = {"float32": 1e-6, "bfloat16": 8e-3}


@pytest.fixture(autouse=True)
def needs_the_compiler(monkeypatch) -> None:
    try:
        described_gpu.cuda_folder()
    except UserError as missing:
        pytest.skip(f"the CUDA compiler is missing: {missing}")
    monkeypatch.setattr(layer_norm_kernel, "_PROGRAMS", 3)  # so that each takes several blocks of rows


def _check(case: Case, pattern: str = "$^", replacement: str = "") -> None:
    """Checks the kernel's results, after replacing a pattern in its code."""
    x, scale, _ = case.arguments()
    arrays = [x, scale, *case.dys()]
    kernel = functools.partial(layer_norm_kernel.call, 1e-5)
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays]
    (compiled,) = described_gpu.kernels(functools.partial(kernel, False), shapes, described_gpu.H200).values()
    assert compiled.grid == (3, 1, 1)
    interpreted = jax.jit(functools.partial(kernel, True))(*arrays)
    inputs = [np.asarray(a).reshape(-1, a.shape[-1]) for a in (x, *case.dys())]
    outputs = [((a.size // a.shape[-1], a.shape[-1]), a.dtype) for a in interpreted]
    found = Kernel(re.sub(pattern, replacement, compiled.ptx)).run(compiled.grid, [np.asarray(scale), *inputs], outputs)
    dx, *parts = found
    case.check([dx, *(part.sum(axis=0) for part in parts)], case.expected()[1])
    for ours, theirs in zip(found, interpreted, strict=True):
        assert error(ours.reshape(theirs.shape), theirs) < _INTERPRET[case.dtype]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(7, 5, 96), (2, 11, 128), (3, 9, 192), (1, 25, 384), (2, 13, 768)])
@pytest.mark.parametrize("with_input", [False, True])
def test_gradients(with_input, shape, dtype):
    _check(Case(with_input, shape, dtype))


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"@%p\d+ ld", "ld", "bytes"),
        (r"@%p\d+ st", "st", "written before"),
        (r"%ctaid\.x", "0", "."),
        (r"sub\.rn", "add.rn", "Mismatched"),
        (r"(shfl\S*\s+\S+\s+\S+) 4,", r"\1 2,", "Mismatched"),
    ],
)
def test_a_fault_is_found(pattern, replacement, message):
    with pytest.raises((AssertionError, PtxError), match=message):
        _check(Case(True, (7, 5, 96), "float32"), pattern, replacement)
