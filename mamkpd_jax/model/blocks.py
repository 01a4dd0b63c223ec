"""The blocks of MamKPD: Stem, CMM and its two ablations, and the VSS block (MamKPD sec. 3.1 and 3.2).

The three kinds of downsampling share one signature, `(c_in, c_out, patch)`: `patch` is 4 in the first stage of a model
without a stem, which starts from the image, and 2 everywhere else.
"""

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from mamkpd_jax.model.layers import (
    BatchNorm,
    DepthwiseConv,
    ImageConv,
    LayerNorm,
    Linear,
    conv,
    drop_path,
    gelu,
    stored_in_dtype,
)
from mamkpd_jax.model.ss2d import SS2D


class Stem(nnx.Module):
    """Image to primary features at stride 2 (MamKPD sec. 3.1, eq. 1).

    Choice: the 7x7 convolution has stride 2, and BN and SiLU follow each of the three convolutions.
    """

    def __init__(self, dim: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.conv = ImageConv(dim, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(dim, dtype=dtype, rngs=rngs)
        self.depthwise = nnx.List(DepthwiseConv(dim, use_bias=False, dtype=dtype, rngs=rngs) for _ in range(2))
        self.depthwise_norms = nnx.List(BatchNorm(dim, dtype=dtype, rngs=rngs) for _ in range(2))

    def __call__(self, image: Float[Array, "b h w 3"]) -> Float[Array, "b h2 w2 d"]:
        x = nnx.silu(self.norm(self.conv(image)))
        for depthwise, norm in zip(self.depthwise, self.depthwise_norms, strict=True):
            x = nnx.silu(norm(depthwise(x)))
        return x


class CMM(nnx.Module):
    """Contextual modeling module: inter-patch, then intra-patch features (MamKPD sec. 3.2, eq. 5).

    Choice: BN and no activation after the first depth-wise convolution; the patch embedding is a 1x1 convolution
    and a depth-wise 3x3; a residual connection around the intra-patch linear layer and convolution. On an image
    (patch 4) the first convolution keeps the resolution, and the embedding partitions it into 4x4 patches, so that no
    pixel is dropped while there are only three channels.
    """

    def __init__(self, c_in: int, c_out: int, patch: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        stride, partition = (1, 4) if patch == 4 else (2, 1)
        self.inter = DepthwiseConv(c_in, stride=stride, use_bias=False, dtype=dtype, rngs=rngs)
        self.inter_norm = BatchNorm(c_in, dtype=dtype, rngs=rngs)
        self.embed = conv(c_in, c_out, partition, stride=partition, use_bias=True, dtype=dtype, rngs=rngs)
        self.embed_conv = DepthwiseConv(c_out, use_bias=True, dtype=dtype, rngs=rngs)
        self.norm = LayerNorm(c_out, dtype=dtype, rngs=rngs)
        self.intra = Linear(c_out, c_out, dtype=dtype, rngs=rngs)
        self.intra_conv = DepthwiseConv(c_out, use_bias=True, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        x = self.inter_norm(self.inter(x))
        x = self.norm(stored_in_dtype(self.embed_conv(self.embed(x))))
        return x + self.intra_conv(nnx.silu(self.intra(x)))


class PatchConv(nnx.Module):
    """A strided convolution in place of the CMM (MamKPD fig. 3, w/o CMM)."""

    def __init__(self, c_in: int, c_out: int, patch: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.conv = conv(c_in, c_out, patch, stride=patch, use_bias=True, dtype=dtype, rngs=rngs)
        self.norm = LayerNorm(c_out, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        return self.norm(self.conv(x))


class PatchMerging(nnx.Module):
    """Swin's patch merging in place of the CMM (MamKPD fig. 3, w-PM; Swin, arXiv 2103.14030, sec. 3.1)."""

    def __init__(self, c_in: int, c_out: int, patch: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.patch = patch
        self.norm = LayerNorm(patch * patch * c_in, dtype=dtype, rngs=rngs)
        self.reduction = Linear(patch * patch * c_in, c_out, use_bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        b, h, w, c = x.shape
        p = self.patch
        x = x.reshape(b, h // p, p, w // p, p, c).transpose(0, 1, 3, 2, 4, 5)
        return self.reduction(self.norm(x.reshape(b, h // p, w // p, p * p * c)))


class VSSBlock(nnx.Module):
    """Visual state space block: SS2D and an MLP, each after a norm and with a residual connection (MamKPD eq. 2).

    Choice: as in VMamba, with an MLP as wide as the features.
    """

    def __init__(self, dim: int, *, d_state: int, drop_path: float, scan: str | None, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.norm = LayerNorm(dim, dtype=dtype, rngs=rngs)
        self.ss2d = SS2D(dim, d_state=d_state, scan=scan, dtype=dtype, rngs=rngs)
        self.mlp_norm = LayerNorm(dim, dtype=dtype, rngs=rngs)
        self.mlp_in = Linear(dim, dim, dtype=dtype, rngs=rngs)
        self.mlp_out = Linear(dim, dim, dtype=dtype, rngs=rngs)
        self.drop_path = drop_path

    def __call__(self, x: Float[Array, "b h w d"], rngs: nnx.Rngs | None = None) -> Float[Array, "b h w d"]:
        normed, x = self.norm.and_input(x)
        x = x + drop_path(self.ss2d(normed), self.drop_path, rngs)
        normed, x = self.mlp_norm.and_input(x)
        hidden = gelu(self.mlp_in(normed))
        return x + drop_path(self.mlp_out(hidden), self.drop_path, rngs)
