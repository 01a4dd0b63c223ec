"""The Mamba-based encoder: X_i = LN(VSS^Ni(CMM(X_{i-1}))) (MamKPD sec. 3.1, eq. 2)."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float

from mamkpd_jax.config import ModelConfig
from mamkpd_jax.model.blocks import CMM, PatchConv, PatchMerging, Stem, VSSBlock
from mamkpd_jax.model.layers import LayerNorm

_DOWNSAMPLING = {"cmm": CMM, "conv": PatchConv, "merging": PatchMerging}


class Stage(nnx.Module):
    """One encoder stage: downsampling, VSS blocks, norm."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        patch: int,
        drop_paths: tuple[float, ...],
        config: ModelConfig,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.down = _DOWNSAMPLING[config.downsampling](c_in, c_out, patch, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List(
            VSSBlock(
                c_out,
                d_state=config.d_state,
                drop_path=rate,
                scan=None if config.scan == "auto" else config.scan,
                dtype=dtype,
                rngs=rngs,
            )
            for rate in drop_paths
        )
        self.norm = LayerNorm(c_out, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"], rngs: nnx.Rngs | None = None) -> Float[Array, "b h2 w2 d"]:
        x = self.down(x)
        for block in self.blocks:
            x = block(x, rngs)
        return self.norm(x)


class Encoder(nnx.Module):
    """Image to features at stride 16 with three stages, 32 with four.

    Choice: the DropPath rate rises linearly over the blocks from 0 to `config.drop_path`.
    """

    def __init__(self, config: ModelConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.stem = Stem(config.dims[0], dtype=dtype, rngs=rngs) if config.stem else None
        rates = np.linspace(0.0, config.drop_path, sum(config.depths)).tolist()
        c_ins = (config.dims[0] if config.stem else 3, *config.dims[:-1])
        stages = []
        for i, (c_in, c_out, depth) in enumerate(zip(c_ins, config.dims, config.depths, strict=True)):
            patch = 4 if i == 0 and not config.stem else 2
            drop_paths, rates = tuple(rates[:depth]), rates[depth:]
            stages.append(Stage(c_in, c_out, patch, drop_paths, config, dtype=dtype, rngs=rngs))
        self.stages = nnx.List(stages)
        self._remat_stages = config.remat_stages

    def __call__(self, image: Float[Array, "b h w 3"], rngs: nnx.Rngs | None = None) -> Float[Array, "b h2 w2 d"]:
        return self.features(image, rngs)[-1]

    def features(self, image: Float[Array, "b h w 3"], rngs: nnx.Rngs | None = None) -> list[Float[Array, "b _ _ _"]]:
        """The outputs of the stem, if there is one, and of each stage, in this order."""
        x, features = image, []
        if self.stem is not None:
            features.append(x := self.stem(x))
        for i, stage in enumerate(self.stages):
            run = nnx.remat(Stage.__call__) if i in self._remat_stages else Stage.__call__
            features.append(x := run(stage, x, rngs))
        return features
