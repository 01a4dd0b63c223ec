"""Checks that kernels compile on this GPU and give the right results.

Everything is small, because each process traces these programs even if the compilation cache has them.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mamkpd_jax.ops.cross_scan import DIRECTIONS
from mamkpd_jax.ops.selective_scan import by_sequence
from mamkpd_jax.ops.selective_scan.implementations import sequential
from mamkpd_jax.ops.selective_scan.tiling import Scan

# A map in all directions, in segments as for single images, with one token a chunk.
SCAN = Scan(directions=tuple(range(DIRECTIONS)), h=3, w=3, d=64, n=1, rank=1, channels=64, chunk=1)

_BATCH = 2
# The largest error, relative to the largest entry: ten times that of a correct scan in bfloat16, more in float32.
LIMITS = {"float32": 1e-4, "bfloat16": 3e-2}
_RESULTS = ("the result", *(f"the gradient of {name}" for name in ("u", "proj", "dt_weight", "dt_bias", "A_log", "D")))


def supported(compute_capability: str) -> bool:
    """Whether the kernels support a GPU: NVIDIA's of compute capability 8.0 or newer. AMD's is a name (gfx942)."""
    major = compute_capability.partition(".")[0]
    return major.isdecimal() and int(major) >= 8


def fault(ss2d: Callable[..., Array]) -> str | None:
    """The first fault of a four-direction scan or its gradients on this process's first device; None if it is right."""
    return first_fault(functools.partial(_errors, ss2d), _RESULTS)


def first_fault(errors_of: Callable[[], np.ndarray], names: Sequence[str]) -> str | None:
    """A message about the first result whose relative error is above its limit, or the kernel's exception; else None.

    The kernel runs in another thread. The caller may be traced by jit, grad, vmap or shard_map, or be inside JAX's
    context managers, and JAX keeps all of these by thread.

    Args:
        errors_of: runs the kernel and returns the relative errors [dtype, result], with the dtypes of `LIMITS`.
        names: the results' names, for the message.
    """
    try:
        with ThreadPoolExecutor(1) as pool:
            errors = pool.submit(errors_of).result()
    except Exception as error:  # whatever a compiler or driver raises
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    for (dtype, limit), row in zip(LIMITS.items(), errors, strict=True):
        for name, error in zip(names, row, strict=True):
            if not error <= limit:  # NaN too
                return f"{name} in {dtype} has a relative error of {error:.1e}; expected at most {limit:.0e}"
    return None


def relative_errors(found: Sequence[Array], wanted: Sequence[Array]) -> Array:
    """The largest error of each array, relative to its largest entry."""
    pairs = zip(found, wanted, strict=True)
    return jnp.stack([jnp.max(jnp.abs(a.astype(b.dtype) - b)) / jnp.max(jnp.abs(b)) for a, b in pairs])


def _errors(ss2d: Callable[..., Array]) -> np.ndarray:
    """The errors by dtype and result."""
    rng = np.random.default_rng(0)
    k, d, rank, n = DIRECTIONS, SCAN.d, SCAN.rank, SCAN.n
    shapes = (SCAN.h, SCAN.w, d), (SCAN.h, SCAN.w, k, rank + 2 * n), (SCAN.h, SCAN.w, d)
    # The values are exact in both dtypes, so that both have the same expected results.
    u, proj, dy = (rng.normal(size=(_BATCH, *shape)).astype(jnp.bfloat16) for shape in shapes)
    weights = (
        rng.normal(size=(k, rank, d)),
        rng.normal(-1, 1, size=(k, d)),
        rng.normal(size=(k, d, n)),
        rng.normal(size=(k, d)),
    )

    @jax.jit
    def run(u: Array, proj: Array, dy: Array, *weights: Array) -> Array:
        def results(scan: Callable[..., Array], dtype: str) -> list[Array]:
            y, pullback = jax.vjp(scan, u.astype(dtype), proj.astype(dtype), *weights)
            return [y, *pullback(dy.astype(y.dtype))]

        truth = results(functools.partial(by_sequence.ss2d, sequential.scan), "float32")
        return jnp.stack([relative_errors(results(ss2d, dtype), truth) for dtype in LIMITS])

    arrays = u, proj, dy, *(weight.astype(np.float32) for weight in weights)
    return jax.device_get(run(*jax.device_put(arrays, jax.local_devices()[0])))
