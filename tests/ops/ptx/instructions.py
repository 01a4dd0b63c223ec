"""The results of PTX's instructions, as arithmetic of typed NumPy arrays.

Arithmetic is IEEE fp32, with subnormal numbers flushed to zero in instructions with .ftz. It differs from a GPU's in
two ways: fma rounds to fp64 before it rounds to fp32, and the .approx instructions are exact up to rounding.

Source: NVIDIA, Parallel Thread Execution ISA, version 9.0.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import ml_dtypes
import numpy as np

from tests.ops.ptx.errors import PtxError

WARP = 32

_TYPES = {"pred": np.dtype(bool), "f32": np.dtype(np.float32)}
_TYPES |= {"bf16": np.dtype(ml_dtypes.bfloat16), "f16": np.dtype(np.float16)}
_TYPES |= {f"{name}{8 * size}": np.dtype(f"{kind}{size}") for size in (2, 4, 8) for name, kind in ("bu", "uu", "si")}
_TYPE = "|".join(_TYPES)
_F32, _U32, _U64 = _TYPES["f32"], _TYPES["u32"], _TYPES["u64"]


class Operation(NamedTuple):
    """The types of an instruction's result and operands, and the function from operands to result."""

    result: np.dtype
    operands: tuple[np.dtype, ...]
    function: Callable[..., np.ndarray]


def operation(opcode: str) -> Operation:
    """The operation of an instruction that affects neither memory nor control flow."""
    if opcode in _SPECIAL:
        return _SPECIAL[opcode]
    conversion = re.fullmatch(rf"cvt(\.rn)?\.({_TYPE})\.({_TYPE})", opcode)
    if conversion and _can_convert(to=conversion[2], source=conversion[3], rounds=bool(conversion[1])):
        to = _TYPES[conversion[2]]
        return Operation(to, (_TYPES[conversion[3]],), lambda x: x.astype(to))
    match = re.fullmatch(rf"([\w.]+?)\.({_TYPE})", opcode)
    found = match and _of_one_type(match[1], _TYPES[match[2]])
    if not found:
        raise PtxError(f"unknown instruction {opcode}")
    return found


def _of_one_type(name: str, dtype: np.dtype) -> Operation | None:
    if name == "mov":
        return Operation(dtype, (dtype,), np.copy)
    if name == "selp":
        return Operation(dtype, (dtype, dtype, _TYPES["pred"]), lambda a, b, which: np.where(which, a, b))
    if dtype.kind in "ui" and name in ("shl", "shr"):
        return Operation(dtype, (dtype, _U32), _shift(np.left_shift if name == "shl" else np.right_shift))
    if dtype.kind in "ui" and name in ("mul.wide", "mad.wide") and dtype.itemsize < 8:
        double = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")
        return Operation(double, (dtype, dtype, double)[: 2 + (name == "mad.wide")], _wide)
    if dtype.kind in "ui" and name == "mul.hi" and dtype.itemsize < 8:
        return Operation(dtype, (dtype, dtype), _high)
    functions = _ON_FLOATS if dtype == _F32 else _ON_INTEGERS if dtype.kind in "ui" else {}
    if dtype.kind in "uib":
        functions = functions | _ON_BITS
    if name not in functions:
        return None
    function = functions[name]
    count = function.nin if isinstance(function, np.ufunc) else function.__code__.co_argcount
    return Operation(_TYPES["pred"] if name.startswith("setp.") else dtype, (dtype,) * count, function)


def _can_convert(*, to: str, source: str, rounds: bool) -> bool:
    """Whether types convert: integers to integers, and fp32 from or to a narrower type, the latter only with .rn."""
    if rounds:
        return to in ("f16", "bf16") and source == "f32"
    return (_TYPES[to].kind in "ui" and _TYPES[source].kind in "ui") or (to == "f32" and source in ("f16", "bf16"))


def _fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return (a.astype(np.float64) * b + c).astype(np.float32)


def _multiply_add(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return a * b + c


def _less_or_greater(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a < b) | (a > b)


def _wide(a: np.ndarray, b: np.ndarray, c: np.ndarray | int = 0) -> np.ndarray:
    double = f"{a.dtype.kind}{2 * a.dtype.itemsize}"
    return a.astype(double) * b.astype(double) + c


def _high(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The upper half of a product."""
    return (_wide(a, b) >> 8 * a.dtype.itemsize).astype(a.dtype)


def _shift(function: np.ufunc) -> Callable[..., np.ndarray]:
    def shift(a: np.ndarray, by: np.ndarray) -> np.ndarray:
        if (by >= 8 * a.dtype.itemsize).any():
            raise PtxError("shift by the width or more")
        return function(a, by.astype(a.dtype))

    return shift


_COMPARE = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal}
_COMPARE |= {"lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal}
_COMPARE = {f"setp.{name}": function for name, function in _COMPARE.items()}
# PTX's minimum of a number and NaN is the number, except with .NaN. All comparisons with NaN are false.
_ON_FLOATS = _COMPARE | {"setp.ne": _less_or_greater, "neg": np.negative, "abs": np.abs, "fma.rn": _fma}
_ON_FLOATS |= {"min": np.fmin, "max": np.fmax, "min.NaN": np.minimum, "max.NaN": np.maximum}
_ON_FLOATS |= {"add": np.add, "sub": np.subtract, "mul": np.multiply}
_ON_FLOATS |= {"add.rn": np.add, "sub.rn": np.subtract, "mul.rn": np.multiply}
_ON_INTEGERS = _COMPARE | {"setp.ne": np.not_equal, "add": np.add, "sub": np.subtract, "mul.lo": np.multiply}
_ON_INTEGERS |= {"mad.lo": _multiply_add, "min": np.minimum, "max": np.maximum, "neg": np.negative}
_ON_BITS = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert}


def _shuffle(source: Callable[[np.ndarray], np.ndarray]) -> Operation:
    """Gives each thread another thread's value; `source` computes that thread's number from the operand."""

    def shuffle(x: np.ndarray, lane: np.ndarray, clamp: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if (clamp != WARP - 1).any() or (mask != 0xFFFFFFFF).any():
            raise PtxError("shfl within a part of the warp")
        return np.take_along_axis(x, np.broadcast_to(source(lane.astype(np.int64) % WARP), x.shape), axis=-1)

    return Operation(_U32, (_U32,) * 4, shuffle)


def _bit_field(x: np.ndarray, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    if (start + length > 32).any() or (length == 32).any():
        raise PtxError("a bit field that ends beyond the register")
    return (x >> start) & ((np.uint32(1) << length) - np.uint32(1))


def _signed_bit_field(x: np.ndarray, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    if (start + length > 32).any() or (length == 0).any():
        raise PtxError("a bit field that ends beyond the register, or is empty")
    highest = (x.view(np.uint32) << (32 - start - length)).view(np.int32)
    return highest >> (32 - length).astype(np.int32)


def _approx(function: np.ufunc) -> Operation:
    def flush(x: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x).astype(np.float32)

    return Operation(_F32, (_F32,), lambda x: flush(function(flush(x).astype(np.float64)).astype(np.float32)))


def _rounded_pair(type: str) -> Operation:
    """Two numbers of 16 bits in one register, the first one in the upper half."""

    def pack(high: np.ndarray, low: np.ndarray) -> np.ndarray:
        high, low = (x.astype(_TYPES[type]).view(np.uint16).astype(np.uint32) for x in (high, low))
        return high << np.uint32(16) | low

    return Operation(_U32, (_F32, _F32), pack)


def _on_pairs(name: str) -> Operation:
    """The same operation on two fp32 numbers in each register of 64 bits."""
    one = _of_one_type(name, _F32)
    assert one

    def function(*registers: np.ndarray) -> np.ndarray:
        pairs = (np.ascontiguousarray(x).view(np.float32) for x in np.broadcast_arrays(*registers))
        return one.function(*pairs).view(np.uint64)

    return Operation(_U64, (_U64,) * len(one.operands), function)


_SPECIAL = {
    "cvta.to.global.u64": Operation(_U64, (_U64,), np.copy),  # all memory is global here
    "ex2.approx.ftz.f32": _approx(np.exp2),
    "lg2.approx.ftz.f32": _approx(np.log2),
    "rcp.approx.ftz.f32": _approx(np.reciprocal),
    "rsqrt.approx.f32": Operation(_F32, (_F32,), lambda x: (x.astype(np.float64) ** -0.5).astype(np.float32)),
    "div.full.f32": Operation(_F32, (_F32,) * 2, np.divide),
    "shfl.sync.bfly.b32": _shuffle(lambda lane: np.arange(WARP) ^ lane),
    "shfl.sync.idx.b32": _shuffle(lambda lane: lane),
    "bfe.u32": Operation(_U32, (_U32,) * 3, _bit_field),
    "bfe.s32": Operation(_TYPES["s32"], (_TYPES["s32"], _U32, _U32), _signed_bit_field),
    "cvt.rn.bf16x2.f32": _rounded_pair("bf16"),
    "cvt.rn.f16x2.f32": _rounded_pair("f16"),
}
_SPECIAL |= {f"{name}.f32x2": _on_pairs(name) for name in ("add.rn", "mul.rn", "fma.rn")}
