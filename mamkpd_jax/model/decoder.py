"""The simple decoder: two deconvolutions and a 1x1 convolution to heatmaps (MamKPD sec. 3.1, eq. 3)."""

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from mamkpd_jax.model.layers import BatchNorm, Deconv, PointwiseConv, decoder_init


class Decoder(nnx.Module):
    """Features to heatmaps at four times their resolution, fp32.

    Source: SimpleBaseline, arXiv 1804.06208, and ViTPose, arXiv 2204.12484, sec. 3.1.
    """

    def __init__(self, c_in: int, dim: int, n_joints: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        widths = ((c_in, dim), (dim, dim))
        self.deconvs = nnx.List(Deconv(a, b, dtype=dtype, rngs=rngs) for a, b in widths)
        self.norms = nnx.List(BatchNorm(b, dtype=dtype, rngs=rngs) for _, b in widths)
        self.head = PointwiseConv(dim, n_joints, (1, 1), kernel_init=decoder_init, dtype=jnp.float32, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h2 w2 j"]:
        for deconv, norm in zip(self.deconvs, self.norms, strict=True):
            x = nnx.relu(norm(deconv(x)))
        return self.head(x)
