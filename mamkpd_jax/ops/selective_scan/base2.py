"""Base-2 exponentials inside a kernel: one hardware instruction each on a GPU, jnp in interpret mode.

Pallas lowers jnp.exp2 and jnp.log2 to libdevice calls, which cost two thirds of the whole scan again.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.pallas import triton as plgpu

LN2 = math.log(2.0)
LOG2E = 1.0 / LN2

# Below a bound the logarithm of 1 + e has lost e's low digits, and log2(1 + e) = e times a polynomial of e takes its
# place: (bound, coefficients), for a relative error of 1e-6 and of 2e-4.
_FINE = 0.25, (1.44269478, -0.721292913, 0.479091555, -0.339257598, 0.178881913)
_COARSE = 0.0625, (1.44247329, -0.692553401)


def exp2(x: Array, interpret: bool) -> Array:
    """2 to the x; fp32, relative error 2^-22, subnormal results are 0."""
    return jnp.exp2(x) if interpret else _instruction("ex2", x)


def softplus(z: Array, precise: bool, interpret: bool) -> tuple[Array, Array]:
    """log2(1 + 2^z), for z of any size, and its derivative.

    Relative error 1e-6 if `precise`, otherwise 2e-4, for a z that came from 16-bit floats.
    """
    bound, series = _FINE if precise else _COARSE
    # 1 + 2^64 is 2^64, and 2^-64 is far from the subnormal numbers, which some backends flush to 0.
    e = exp2(jnp.minimum(z, 64.0), interpret)
    log = jnp.log2(1.0 + e) if interpret else _instruction("lg2", 1.0 + e)
    ratio = functools.reduce(lambda sum, coefficient: sum * e + coefficient, reversed(series))
    log = jnp.where(e < bound, e * ratio, log)
    return jnp.maximum(log, z), e * exp2(-log, interpret)


def _instruction(name: str, x: Array) -> Array:
    (result,) = plgpu.elementwise_inline_asm(
        f"{name}.approx.ftz.f32 $0, $1;",
        args=[x],
        constraints="=f,f",
        pack=1,
        result_shape_dtypes=[jax.ShapeDtypeStruct(x.shape, x.dtype)],
    )
    return result
