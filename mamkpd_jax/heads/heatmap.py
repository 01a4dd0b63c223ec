"""The paper's head: two deconvolutions and a 1x1 convolution to a heatmap for each joint (MamKPD sec. 3.1)."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from mamkpd_jax.codec import AnyArray, decode_heatmaps, encode_heatmaps, flip_heatmaps, to_input_px
from mamkpd_jax.config import Config, HeatmapConfig
from mamkpd_jax.heads._head import Head
from mamkpd_jax.model.layers import BatchNorm, Deconv, PointwiseConv, decoder_init
from mamkpd_jax.skeletons import Skeleton


class Decoder(nnx.Module):
    """Features to heatmaps at four times their resolution, fp32 (MamKPD eq. 3).

    Source: SimpleBaseline, arXiv 1804.06208, and ViTPose, arXiv 2204.12484, sec. 3.1.
    """

    def __init__(self, c_in: int, dim: int, n_joints: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        widths = ((c_in, dim), (dim, dim))
        self.deconvs = nnx.List(Deconv(a, b, dtype=dtype, rngs=rngs) for a, b in widths)
        self.norms = nnx.List(BatchNorm(b, dtype=dtype, rngs=rngs) for _, b in widths)
        self.head = PointwiseConv(dim, n_joints, (1, 1), kernel_init=decoder_init, dtype=jnp.float32, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h2 w2 j"]:
        return self.head(self.hidden(x))

    def hidden(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h2 w2 c"]:
        """The features that the last layer is applied to."""
        for deconv, norm in zip(self.deconvs, self.norms, strict=True):
            x = nnx.relu(norm(deconv(x)))
        return x


class HeatmapHead(Head):
    """The head whose outputs are heatmaps [b, h, w, j]."""

    config = HeatmapConfig
    output = "heatmaps"
    joint_layers = ("head",)
    linear_layer = "head"

    def __init__(self, config: Config, skeleton: Skeleton):
        super().__init__(config, skeleton)
        assert isinstance(config.head, HeatmapConfig)
        self._codec, self._sigma_px = config.head.codec, config.head.sigma_px
        self.heatmap_stride = config.model.stride // 4
        height, width = config.data.input_hw
        self._input_hw = height, width
        self._heatmap_hw = height // self.heatmap_stride, width // self.heatmap_stride

    def decoder(self, *, rngs: nnx.Rngs) -> Decoder:
        model = self.model
        dtype = jnp.dtype(model.dtype)
        return Decoder(model.dims[-1], model.decoder_dim, self.skeleton.n_joints, dtype=dtype, rngs=rngs)

    def encode(
        self, keypoints_px: Float[Array, "b j 2"], visible: Float[Array, "b j"]
    ) -> tuple[Float[Array, "b h w j"], Float[Array, "b j"]]:
        return encode_heatmaps(keypoints_px, visible, self._input_hw, self._heatmap_hw, self._sigma_px, self._codec)

    def loss(
        self, outputs: Float[Array, "b h w j"], targets: Float[Array, "b h w j"], weights: Float[Array, "b j"]
    ) -> Float[Array, ""]:
        """The mean squared error over all heatmap pixels; an unlabelled joint has weight 0.

        Source: MamKPD eq. 4; the weights are SimpleBaseline's, arXiv 1804.06208.
        """
        error = jnp.square(outputs.astype(jnp.float32) - targets) * weights[:, None, None, :]
        return jnp.mean(error)

    def flip(self, outputs: Float[AnyArray, "b h w j"]) -> Float[AnyArray, "b h w j"]:
        return flip_heatmaps(outputs, self.skeleton.flip_indices, self._codec)

    def decode(self, outputs: Float[AnyArray, "b h w j"]) -> tuple[Float[AnyArray, "b j 2"], Float[AnyArray, "b j"]]:
        points, scores = decode_heatmaps(outputs, self._codec, self._sigma_px / self.heatmap_stride)
        return to_input_px(points, self._input_hw, self._heatmap_hw, self._codec), scores

    def maps(self, outputs: Float[AnyArray, "b h w j"]) -> Float[AnyArray, "b h w j"]:
        return outputs

    def stride(self, layer: Sequence[Any]) -> int:
        """A deconvolution has the stride of its input."""
        return self.model.stride // 2 ** layer[1] if layer[0] == "deconvs" else self.heatmap_stride


HEAD = HeatmapHead
