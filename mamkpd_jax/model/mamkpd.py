"""MamKPD: encoder and decoder, and the table of its variants (MamKPD sec. 3.1, tables 1 and 5, figure 3)."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, UInt8

from mamkpd_jax.config import ModelConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.model.decoder import Decoder
from mamkpd_jax.model.encoder import Encoder
from mamkpd_jax.ops.selective_scan import choice

# Source: MamKPD table 1 (small, base, large), table 5 (ablation_a to ablation_d) and figure 3 (the others).
# Choice: the decoder is a quarter as wide as the last stage, 32 in Small: the paper gives no width.
VARIANTS = {
    "small": ModelConfig(stem=False, decoder_dim=32),
    "base": ModelConfig(),
    "large": ModelConfig(dims=(128, 256, 512), decoder_dim=128),
    "ablation_a": ModelConfig(depths=(1, 2, 3)),
    "ablation_b": ModelConfig(depths=(2, 4, 6, 3), dims=(64, 128, 256, 512), decoder_dim=128),
    "ablation_c": ModelConfig(dims=(64, 128, 256), decoder_dim=64),
    "ablation_d": ModelConfig(dims=(192, 384, 768), decoder_dim=192),
    "without_stem": ModelConfig(stem=False),
    "without_cmm": ModelConfig(downsampling="conv"),
    "patch_merging": ModelConfig(downsampling="merging"),
    "without_stem_and_cmm": ModelConfig(stem=False, downsampling="conv"),
}


# ImageNet's statistics of RGB, of values 0 to 255.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def variant(name: str) -> ModelConfig:
    """A copy of a row of `VARIANTS`, to be changed freely.

    Raises:
        UserError: there is no such variant.
    """
    if name not in VARIANTS:
        raise UserError(f"there is no model variant {name!r}; expected one of {', '.join(VARIANTS)}")
    return copy.deepcopy(VARIANTS[name])


def normalize(image: UInt8[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """RGB bytes to what the network takes, fp32. Source: ImageNet's mean and std (MamKPD sec. 3.1 names none)."""
    return (image.astype(jnp.float32) - jnp.array(MEAN)) / jnp.array(STD)


class MamKPD(nnx.Module):
    """A crop of one person or animal to a heatmap per joint.

    Args:
        config: the sizes; `variant("base")` for example.
        n_joints: heatmaps to predict.
        rngs: stream `params` initialises.

    Raises:
        UserError: this device can't run `config.scan`.
    """

    def __init__(self, config: ModelConfig, n_joints: int, *, rngs: nnx.Rngs):
        if config.scan != "auto":
            choice.resolve(config.scan)
        dtype = jnp.dtype(config.dtype)
        self.encoder = Encoder(config, dtype=dtype, rngs=rngs)
        self.decoder = Decoder(config.dims[-1], config.decoder_dim, n_joints, dtype=dtype, rngs=rngs)

    def __call__(self, image: Float[Array, "b h w 3"], rngs: nnx.Rngs | None = None) -> Float[Array, "b h2 w2 j"]:
        """Heatmaps of crops from `normalize`.

        Args:
            image: height and width divisible by `config.stride`.
            rngs: stream `drop_path`; without it no path is dropped.
        """
        return self.decoder(self.encoder(image, rngs))


class ParamKeys(nnx.Rngs):
    """The keys of nnx.Rngs(params=seed), counted in Python.

    nnx counts in an array: for each parameter of a traced model it then searches all that was traced so far, which
    takes longer than the rest of the model.
    """

    def __init__(self, seed: int):
        self._seed, self._n = seed, 0

    def params(self) -> Array:
        self._n += 1
        return jax.random.fold_in(jax.random.key(self._seed), self._n - 1)


def abstract(config: ModelConfig, n_joints: int) -> MamKPD:
    """A model with shapes in place of arrays, for its structure."""
    return nnx.eval_shape(lambda: MamKPD(config, n_joints, rngs=ParamKeys(0)))


def split(model: nnx.Module) -> tuple[nnx.GraphDef, dict[str, Any], dict[str, Any]]:
    """A module as structure, parameters and batch statistics."""
    graphdef, params, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)
