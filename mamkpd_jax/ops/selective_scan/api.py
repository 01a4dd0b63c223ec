"""The selective scan's public functions, which check the arguments.

State and recurrence are fp32 whatever the dtype of the inputs.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from mamkpd_jax.ops.cross_scan import DIRECTIONS
from mamkpd_jax.ops.selective_scan.choice import resolve

_MOST_STATES = 16


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
        dt_weight: delta = softplus(low-rank delta @ dt_weight + dt_bias).
        dt_bias: as in `dt_weight`.
        A_log: A = -exp(A_log), with 1 to 16 states n.
        implementation: a module of `implementations/`; None chooses the best one for this process's devices. Programs
            that are exported have to name a serializable one, such as "portable".

    Returns:
        The sum, with the D skip, in u's dtype.

    Raises:
        ValueError: the arguments don't fit together.
        UserError: there is no such implementation, or it can't run here.

    Source: MamKPD sec. 3.2; VMamba, arXiv 2401.10166, sec. 4.2.
    """
    b, h, w, d = u.shape
    rank, n = dt_weight.shape[1], A_log.shape[-1]
    _check_floating(u=u, proj=proj, dt_weight=dt_weight, dt_bias=dt_bias, A_log=A_log, D=D)
    _check_states("A_log", A_log)
    _check_shape("proj", proj, (b, h, w, DIRECTIONS, rank + 2 * n))
    _check_shape("dt_weight", dt_weight, (DIRECTIONS, rank, d))
    _check_shape("dt_bias", dt_bias, (DIRECTIONS, d))
    _check_shape("A_log", A_log, (DIRECTIONS, d, n))
    _check_shape("D", D, (DIRECTIONS, d))
    scan = resolve(implementation).ss2d
    if b == 0:
        return u
    weights = (x.astype(jnp.float32) for x in (dt_weight, dt_bias, A_log, D))
    return scan(u, proj, *weights).astype(u.dtype)


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
        A: decay rates, negative, of 1 to 16 states n.
        reverse: from the last token to the first.
        implementation: a module of `implementations/`; None chooses the best one for this process's devices.

    Returns:
        y, in u's dtype.

    Raises:
        ValueError: the arguments don't fit together.
        UserError: there is no such implementation, or it can't run here.

    Source: Mamba, arXiv 2312.00752, eq. 2 to 4.
    """
    b, length, d = u.shape
    n = A.shape[-1]
    D = jnp.zeros((d,)) if D is None else D
    _check_floating(u=u, delta=delta, A=A, B=B, C=C, D=D)
    _check_states("A", A)
    _check_shape("delta", delta, (b, length, d))
    _check_shape("A", A, (d, n))
    _check_shape("B", B, (b, length, n))
    _check_shape("C", C, (b, length, n))
    _check_shape("D", D, (d,))
    scan = resolve(implementation).plain
    if b == 0:
        return u
    return scan(u, delta, A.astype(jnp.float32), B, C, D.astype(jnp.float32), reverse=reverse).astype(u.dtype)


def _check_floating(**arrays: Array) -> None:
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} has dtype {array.dtype}; expected a floating-point dtype")


def _check_states(name: str, array: Array) -> None:
    if not 1 <= array.shape[-1] <= _MOST_STATES:
        raise ValueError(f"{name} has {array.shape[-1]} states (its last axis); expected 1 to {_MOST_STATES}")


def _check_shape(name: str, array: Array, expected: tuple) -> None:
    """Sizes may be symbolic, as in an export with a dynamic batch."""
    if array.shape != expected or 0 in expected[1:]:
        raise ValueError(f"{name} has shape {array.shape}; expected {expected} with no axis but the batch empty")
