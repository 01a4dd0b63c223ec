"""Arithmetic inside a kernel: single hardware instructions on a GPU, jnp in interpret mode.

Pallas lowers jnp.exp2 to a libdevice call of several instructions, and XLA's Triton doesn't fuse a product and a sum.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.pallas import triton as plgpu
from jax.typing import DTypeLike

from mamkpd_jax.ops.softplus import LOG2_1P

LN2 = math.log(2.0)
LOG2E = 1.0 / LN2

# Replaces LOG2_1P for 16-bit floats: the largest relative error is 4e-4.
_COARSE = 1.44212806, -0.701747298, 0.366480678, -0.107254431


class Arithmetic:
    """fp32 functions of vectors. NaN and infinity propagate as in jnp, except in softplus's derivative."""

    def __init__(self, interpret: bool):
        self._interpret = interpret

    def exp2(self, x: Array) -> Array:
        """2 to the x. Relative error 2^-22; subnormal results are 0."""
        return jnp.exp2(x) if self._interpret else _instruction("ex2.approx.ftz.f32", x)

    def fma(self, a: Array, b: Array | float, c: Array | float) -> Array:
        """a b + c, rounded once on a GPU."""
        return a * b + c if self._interpret else _instruction("fma.rn.f32", a, b, c)

    def dot(self, first: Sequence[Array], second: Sequence[Array], start: Array | None = None) -> Array:
        """The sum of the products of two lists, plus `start`."""
        pairs = list(zip(first, second, strict=True))
        if start is None:
            (a, b), *pairs = pairs
            start = a * b
        return functools.reduce(lambda sum, pair: self.fma(*pair, sum), pairs, start)

    def softplus(self, z: Array, precise: bool) -> tuple[Array, Array]:
        """log2(1 + 2^z) and its derivative, which is NaN at infinity.

        Relative error 1e-6 if `precise`, otherwise 4e-4, which suits a z from 16-bit floats.
        """
        e = self.exp2(-jnp.abs(z))
        *rest, ratio = LOG2_1P if precise else _COARSE
        for coefficient in reversed(rest):
            ratio = self.fma(e, ratio, coefficient)
        log = self.fma(e, ratio, jnp.maximum(z, 0.0))
        return log, self.exp2(z - log)


def _instruction(name: str, *operands: Array | float) -> Array:
    args = jnp.broadcast_arrays(*(jnp.float32(x) for x in operands))
    places = ", ".join(f"${i}" for i in range(len(args) + 1))
    return inline_asm(f"{name} {places};", ",".join(["=f", *["f"] * len(args)]), jnp.float32, *args)


def inline_asm(text: str, constraints: str, dtype: DTypeLike, *args: Array) -> Array:
    """The vector that PTX computes elementwise. It takes as many elements of each argument as it has results."""
    (result,) = plgpu.elementwise_inline_asm(
        text,
        args=args,
        constraints=constraints,
        pack=constraints.count("="),
        result_shape_dtypes=[jax.ShapeDtypeStruct(args[0].shape, dtype)],
    )
    return result
