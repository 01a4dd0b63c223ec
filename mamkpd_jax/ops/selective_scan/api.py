"""The selective scan's public functions: they check the arguments and choose the implementation.

State and recurrence are fp32 whatever the dtype of the inputs.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from absl import logging
from jax import Array
from jaxtyping import Float

from mamkpd_jax.ops.cross_scan import DIRECTIONS, to_map, to_sequence
from mamkpd_jax.ops.selective_scan import associative, reference

IMPLEMENTATIONS: dict[str, Callable[..., Array]] = {
    "sequential": reference.scan,
    "associative": associative.scan,
}


def ss2d_scan(
    u: Float[Array, "b h w d"],
    proj: Float[Array, "b h w k p"],
    dt_weight: Float[Array, "k r d"],
    dt_bias: Float[Array, "k d"],
    A_log: Float[Array, "k d n"],
    D: Float[Array, "k d"],
    *,
    implementation: str | None = None,
) -> Float[Array, "b h w d"]:
    """The sum of the selective scans of a map in four directions.

    Args:
        proj: low-rank delta (r), B (n) and C (n) of the four directions, by position.
        dt_weight, dt_bias: delta = softplus(low-rank delta @ dt_weight + dt_bias).
        A_log: A = -exp(A_log).
        implementation: a name of `IMPLEMENTATIONS`; None chooses by platform.

    Returns:
        The sum, with the D skip, in u's dtype.

    Raises:
        ValueError: arguments that don't fit together, or an implementation that does not exist.

    Source: MamKPD sec. 3.2; VMamba, arXiv 2401.10166, sec. 4.2.
    """
    b, h, w, d = u.shape
    rank, n = dt_weight.shape[1], A_log.shape[-1]
    _check_floating(u=u, proj=proj, dt_weight=dt_weight, dt_bias=dt_bias, A_log=A_log, D=D)
    _check_shape("proj", proj, (b, h, w, DIRECTIONS, rank + 2 * n))
    _check_shape("dt_weight", dt_weight, (DIRECTIONS, rank, d))
    _check_shape("dt_bias", dt_bias, (DIRECTIONS, d))
    _check_shape("A_log", A_log, (DIRECTIONS, d, n))
    _check_shape("D", D, (DIRECTIONS, d))
    scan = _resolve(implementation)

    u32, proj = u.astype(jnp.float32), proj.astype(jnp.float32)
    y = u32 * jnp.sum(D, axis=0)
    for k in range(DIRECTIONS):
        low_rank, B, C = jnp.split(to_sequence(proj[:, :, :, k], k), [rank, rank + n], axis=-1)
        delta = jax.nn.softplus(low_rank @ dt_weight[k] + dt_bias[k])
        y = y + to_map(scan(to_sequence(u32, k), delta, -jnp.exp(A_log[k]), B, C), k, h, w)
    return y.astype(u.dtype)


def selective_scan(
    u: Float[Array, "b l d"],
    delta: Float[Array, "b l d"],
    A: Float[Array, "d n"],
    B: Float[Array, "b l n"],
    C: Float[Array, "b l n"],
    D: Float[Array, " d"] | None = None,
    reverse: bool = False,
    *,
    implementation: str | None = None,
) -> Float[Array, "b l d"]:
    """The selective scan of a sequence: h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t, y_t = C_t . h_t + D u_t.

    Args:
        delta: positive step sizes, after softplus.
        A: decay rates, negative.
        reverse: from the last token to the first.
        implementation: a name of `IMPLEMENTATIONS`; None chooses by platform.

    Returns:
        y, in u's dtype.

    Raises:
        ValueError: arguments that don't fit together, or an implementation that does not exist.

    Source: Mamba, arXiv 2312.00752, eq. 2 to 4.
    """
    b, length, d = u.shape
    n = A.shape[-1]
    _check_floating(u=u, delta=delta, A=A, B=B, C=C)
    _check_shape("delta", delta, (b, length, d))
    _check_shape("A", A, (d, n))
    _check_shape("B", B, (b, length, n))
    _check_shape("C", C, (b, length, n))
    scan = _resolve(implementation)

    def sequence(x: Array) -> Array:
        x = x.astype(jnp.float32).transpose(1, 0, 2)
        return x[::-1] if reverse else x

    y = scan(sequence(u), sequence(delta), A.astype(jnp.float32), sequence(B), sequence(C))
    y = (y[::-1] if reverse else y).transpose(1, 0, 2)
    if D is not None:
        _check_floating(D=D)
        _check_shape("D", D, (d,))
        y = y + u.astype(jnp.float32) * D
    return y.astype(u.dtype)


def _resolve(implementation: str | None) -> Callable[..., Array]:
    name = _choose(jax.default_backend()) if implementation is None else implementation
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"implementation is {name!r}; expected None or one of {', '.join(IMPLEMENTATIONS)}")
    return IMPLEMENTATIONS[name]


@functools.cache
def _choose(platform: str) -> str:
    """The faster implementation of a platform, logged once.

    A CPU has nothing to gain from the parallel prefix, which does more arithmetic: for Base's first stage at batch 2
    it takes several times as long as the loop (`python -m benchmarks.layers`).
    """
    name = "sequential" if platform == "cpu" else "associative"
    logging.info("selective scan on %s: %s", platform, name)
    return name


def _check_floating(**arrays: Array) -> None:
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} has dtype {array.dtype}; expected a floating-point dtype")


def _check_shape(name: str, array: Array, expected: tuple) -> None:
    """Sizes may be symbols, as an export with a dynamic batch has them."""
    if array.shape != expected or 0 in expected[1:]:
        raise ValueError(f"{name} has shape {array.shape}; expected {expected} with no axis but the batch empty")
