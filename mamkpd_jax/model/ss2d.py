"""SS2D: 2-D selective scan in four directions (MamKPD sec. 3.2, after VMamba, arXiv 2401.10166)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from mamkpd_jax.model.layers import DepthwiseConv, LayerNorm, Linear, product, stored_in_dtype
from mamkpd_jax.ops.cross_scan import DIRECTIONS
from mamkpd_jax.ops.selective_scan import ss2d_scan

_DELTA_RANGE = (1e-3, 1e-1)


def _delta_bias(key: Array, shape: tuple[int, ...]) -> Array:
    """Values whose softplus is log-uniform in `_DELTA_RANGE`. Source: Mamba, arXiv 2312.00752, sec. 3.6."""
    low, high = (math.log(v) for v in _DELTA_RANGE)
    delta = jnp.exp(jax.random.uniform(key, shape, minval=low, maxval=high))
    return delta + jnp.log(-jnp.expm1(-delta))


class SS2D(nnx.Module):
    """Mixes all positions of a feature map, gated by each position's features.

    Choice: as the paper gives no sizes, d_inner = d, one state a channel and dt_rank = ceil(d / 16): VMamba's later
    choice, at a sixteenth of the cost of 16 states.
    """

    def __init__(self, dim: int, *, d_state: int, scan: str | None, dtype: jnp.dtype, rngs: nnx.Rngs):
        rank = math.ceil(dim / 16)
        uniform = jax.random.uniform
        self.in_proj = Linear(dim, 2 * dim, use_bias=False, dtype=dtype, rngs=rngs)
        self.conv = DepthwiseConv(dim, use_bias=True, dtype=dtype, rngs=rngs)
        bound = dim**-0.5
        self.x_proj = nnx.Param(
            uniform(rngs.params(), (dim, DIRECTIONS, rank + 2 * d_state), minval=-bound, maxval=bound)
        )
        bound = rank**-0.5
        self.dt_weight = nnx.Param(uniform(rngs.params(), (DIRECTIONS, rank, dim), minval=-bound, maxval=bound))
        self.dt_bias = nnx.Param(_delta_bias(rngs.params(), (DIRECTIONS, dim)))
        states = jnp.arange(1, d_state + 1, dtype=jnp.float32)
        self.A_log = nnx.Param(jnp.broadcast_to(jnp.log(states), (DIRECTIONS, dim, d_state)))
        self.D = nnx.Param(jnp.ones((DIRECTIONS, dim)))
        self.norm = LayerNorm(dim, dtype=dtype, rngs=rngs)
        self.out_proj = Linear(dim, dim, use_bias=False, dtype=dtype, rngs=rngs)
        self.scan = scan
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h w d"]:
        u, z = jnp.split(self.in_proj(x), 2, axis=-1)
        u = nnx.silu(self.conv(u))
        x_proj = self.x_proj[...]
        proj = product(u, x_proj.reshape(len(x_proj), -1)).reshape(*u.shape[:-1], *x_proj.shape[1:])
        y = ss2d_scan(
            u,
            proj,
            self.dt_weight[...],
            self.dt_bias[...],
            self.A_log[...],
            self.D[...],
            implementation=self.scan,
        )
        y = stored_in_dtype(y)
        return self.out_proj(self.norm(y) * nnx.silu(z))
