"""The gradients of a layer norm as a Pallas kernel for NVIDIA GPUs, by Triton.

XLA needs several kernels, which read the norm's arrays several times. This kernel reads them once. Each program is one
warp: it loops over some of the rows and writes its partial sums over rows.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Float

from mamkpd_jax.ops.batch_parallel import over_batch
from mamkpd_jax.ops.selective_scan import choice, self_check

LARGEST = 1024  # features; more would not fit into a warp's registers
_TILE = 512  # elements that a program loads at once from each array; at least one row
# Choice: 16 programs for each of an H200's multiprocessors, so that some compute while others wait for memory. With at
# least 8 rows a program, the partial sums are small beside the rows. Not timed on a GPU yet.
_PROGRAMS, _FEWEST_ROWS = 2112, 8


@functools.cache
def works() -> bool:
    """Whether the scan's kernels work here and this kernel agrees with XLA's gradients. Logs a fault, once."""
    if not choice.passes_check("pallas_triton"):
        return False
    fault = self_check.first_fault(_errors, [f"the gradient of {name}" for name in ("x", "scale", "bias")])
    if fault is not None:
        message = "layer norm: the kernel for gradients fails its check on %s (%s); XLA's slower code is used"
        logging.warning(message, jax.local_devices()[0].device_kind, fault)
    return fault is None


def _errors() -> np.ndarray:
    """The relative errors [dtype, result] for 64 features, which the tests' emulator can't run in bfloat16."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 2, 5, 64)).astype(jnp.bfloat16)  # x and two gradients, of the norm and of x
    weights = rng.normal(size=(2, 64)).astype(np.float32)

    def plain(x: Array, scale: Array, bias: Array) -> tuple[Array, Array]:
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        return centred * lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-5) * scale + bias, x

    @jax.jit
    def run(maps: Array, weights: Array) -> Array:
        x, *dys = maps.astype(jnp.float32)
        truth = jax.vjp(plain, x, *weights)[1](tuple(dys))

        def errors(dtype: str) -> Array:
            x, *dys = maps.astype(dtype)
            return self_check.relative_errors(gradients(1e-5, x, weights[0], *dys), truth)

        return jnp.stack([errors(dtype) for dtype in self_check.LIMITS])

    return jax.device_get(run(*jax.device_put((maps, weights), jax.local_devices()[0])))


@functools.partial(jax.jit, static_argnums=0, static_argnames="interpret")  # traced and lowered once for each shape
def gradients(
    epsilon: float,
    x: Float[Array, "*b d"],
    scale: Float[Array, " d"],
    *dys: Float[Array, "*b d"],
    interpret: bool = False,
) -> tuple[Array, Array, Array]:
    """Gradients of x [*b, d], scale [d] and bias [d], computed in fp32.

    Args:
        dys: the gradient of the norm and, optionally, another gradient of x, which is added to x's.
        interpret: run in interpret mode, on any device.
    """

    def rows_of(x: Array) -> Array:
        return x.reshape(x.shape[0], -1, x.shape[-1])

    def on_a_device(*arrays: Array) -> tuple[Array, Array, Array]:
        dx, *parts = call(epsilon, interpret, *arrays)
        # One reduction of both arrays makes one kernel. XLA doesn't split it over devices, but `over_batch` does.
        dscale, dbias = lax.reduce(tuple(parts), (0.0, 0.0), _add, (0,))
        return dx, dscale[None], dbias[None]

    kernel = over_batch(on_a_device, [0, None, *[0] * len(dys)], [0, 0, 0])
    dx, dscale, dbias = kernel(rows_of(x), scale, *map(rows_of, dys))
    dscale, dbias = (jnp.sum(parts, axis=0).astype(scale.dtype) for parts in (dscale, dbias))
    return dx.reshape(x.shape), dscale, dbias


def _add(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    return a[0] + b[0], a[1] + b[1]


def call(epsilon: float, interpret: bool, x: Array, scale: Array, *dys: Array) -> tuple[Array, ...]:
    """`gradients` for arrays [b, l, d]; those of scale and bias are partial sums, one for each program [p, d]."""
    maps = [a.reshape(-1, a.shape[-1]) for a in (x, *dys)]
    rows, d = maps[0].shape
    tile = max(1, _TILE // pl.next_power_of_2(d))
    programs = min(_PROGRAMS, pl.cdiv(rows, max(_FEWEST_ROWS, tile)))
    of_vector = jax.ShapeDtypeStruct((programs, d), jnp.float32)
    dx, *parts = pl.pallas_call(
        functools.partial(_kernel, epsilon, tile, programs),
        grid=(programs,),
        out_shape=[jax.ShapeDtypeStruct((rows, d), x.dtype), of_vector, of_vector],
        interpret=interpret,
        compiler_params=plgpu.CompilerParams(num_warps=1, num_stages=1),
        name="layer_norm_backward",
    )(scale, *maps)
    return dx.reshape(x.shape), *parts


def _kernel(epsilon: float, tile: int, programs: int, scale_ref, x_ref, dy_ref, *refs) -> None:
    *other_ref, dx_ref, dscale_ref, dbias_ref = refs
    (rows, d), program = x_ref.shape, pl.program_id(0)
    column = jnp.arange(pl.next_power_of_2(d), dtype=jnp.int32)
    inside = column < d
    scale = plgpu.load(scale_ref.at[column], mask=inside, other=0.0)[None]

    def mean(x: Array) -> Array:
        return jnp.sum(x, axis=1, keepdims=True) * (1 / d)

    def some_rows(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        row = (i * programs + program) * tile + jnp.arange(tile, dtype=jnp.int32)
        place, mask = (row[:, None], column[None]), (row < rows)[:, None] & inside[None]

        def load(ref) -> Array:
            return plgpu.load(ref.at[place], mask=mask, other=0.0).astype(jnp.float32)

        x, dy = load(x_ref), load(dy_ref)
        centred = jnp.where(inside[None], x - mean(x), 0.0)
        rate = lax.rsqrt(mean(centred * centred) + epsilon)
        normal, gradient = centred * rate, dy * scale
        dx = rate * (gradient - mean(gradient) - normal * mean(gradient * normal))
        dx = sum(map(load, other_ref), start=dx)
        plgpu.store(dx_ref.at[place], dx.astype(dx_ref.dtype), mask=mask)
        return sums[0] + dy * normal, sums[1] + dy

    zeros = jnp.zeros((tile, column.size), jnp.float32)
    sums = lax.fori_loop(0, pl.cdiv(rows, tile * programs), some_rows, (zeros, zeros))
    for ref, total in zip((dscale_ref, dbias_ref), sums, strict=True):
        plgpu.store(ref.at[program, column], jnp.sum(total, axis=0), mask=inside)
