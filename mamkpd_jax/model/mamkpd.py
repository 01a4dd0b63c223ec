"""MamKPD: the encoder with a head's decoder, and the table of variants (MamKPD sec. 3.1, tables 1 and 5, figure 3)."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float, UInt8

from mamkpd_jax.config import Config, ModelConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.model.encoder import Encoder
from mamkpd_jax.ops.selective_scan import choice
from mamkpd_jax.registry import HEADS
from mamkpd_jax.skeletons import Skeleton

# Choice: the decoder is a quarter as wide as the last stage, 32 in Small: the paper gives no width.
SIZES = {  # Source: MamKPD table 1
    "small": ModelConfig(stem=False, decoder_dim=32),
    "base": ModelConfig(),
    "large": ModelConfig(dims=(128, 256, 512), decoder_dim=128),
}
ABLATIONS = {  # Source: MamKPD table 5 (ablation_a to ablation_d) and figure 3 (the others)
    "ablation_a": ModelConfig(depths=(1, 2, 3)),
    "ablation_b": ModelConfig(depths=(2, 4, 6, 3), dims=(64, 128, 256, 512), decoder_dim=128),
    "ablation_c": ModelConfig(dims=(64, 128, 256), decoder_dim=64),
    "ablation_d": ModelConfig(dims=(192, 384, 768), decoder_dim=192),
    "without_stem": ModelConfig(stem=False),
    "without_cmm": ModelConfig(downsampling="conv"),
    "patch_merging": ModelConfig(downsampling="merging"),
    "without_stem_and_cmm": ModelConfig(stem=False, downsampling="conv"),
}
VARIANTS = SIZES | ABLATIONS
# Fields of ModelConfig that define a variant; the others set how it is trained and computed.
_SHAPE = ("stem", "depths", "dims", "downsampling", "decoder_dim", "d_state")


# ImageNet's mean and standard deviation of RGB values from 0 to 255.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def variant(name: str) -> ModelConfig:
    """A copy of a row of `VARIANTS`, which the caller may change.

    Raises:
        UserError: there is no such variant.
    """
    if name not in VARIANTS:
        raise UserError(f"there is no model variant {name!r}; expected one of {', '.join(VARIANTS)}")
    return copy.deepcopy(VARIANTS[name])


def variant_name(config: ModelConfig) -> str:
    """The row of `VARIANTS` that has these sizes, or "custom"."""
    same = (name for name, row in VARIANTS.items() if all(getattr(row, f) == getattr(config, f) for f in _SHAPE))
    return next(same, "custom")


def normalize(image: UInt8[Array | np.ndarray, "b h w 3"]) -> Float[Array | np.ndarray, "b h w 3"]:
    """The network's fp32 input from RGB bytes. Source: ImageNet's mean and std (MamKPD sec. 3.1 names none)."""
    xp: Any = image.__array_namespace__()
    return (image.astype(xp.float32) - xp.array(MEAN, xp.float32)) / xp.array(STD, xp.float32)


class MamKPD(nnx.Module):
    """The network, from a crop of one person or animal to a head's outputs, such as a heatmap for each joint.

    Args:
        config: its sections `model` and `head` are used.
        skeleton: the joints to find.
        rngs: stream `params` initialises the parameters.

    Raises:
        UserError: there is no such head, or this device can't run `config.model.scan`.
    """

    def __init__(self, config: Config, skeleton: Skeleton, *, rngs: nnx.Rngs):
        if config.model.scan != "auto":
            choice.resolve(config.model.scan)
        self.encoder = Encoder(config.model, dtype=jnp.dtype(config.model.dtype), rngs=rngs)
        self.decoder = HEADS[config.head.kind](config, skeleton).decoder(rngs=rngs)

    def __call__(self, image: Float[Array, "b h w 3"], rngs: nnx.Rngs | None = None) -> Any:
        """The head's outputs for crops from `normalize`.

        Args:
            image: crops whose height and width are divisible by `config.model.stride`.
            rngs: stream `drop_path` chooses the dropped paths; None drops none.
        """
        return self.decoder(self.encoder(image, rngs))


class ParamKeys(nnx.Rngs):
    """The keys of nnx.Rngs(params=seed), counted in Python.

    nnx counts in an array. When a model is traced, it then searches the whole trace for each parameter, which takes
    longer than the rest of the model.
    """

    def __init__(self, seed: int):
        self._seed, self._n = seed, 0

    def params(self) -> Array:
        """The next key."""
        self._n += 1
        return jax.random.fold_in(jax.random.key(self._seed), self._n - 1)


# By arguments: a start of `mamkpd predict` needs the same model four times, and each takes a tenth of a second.
_ABSTRACT: dict[str, MamKPD] = {}


def abstract(config: Config, skeleton: Skeleton) -> MamKPD:
    """A model with shapes in place of arrays, for its structure. Equal arguments share one object: don't change it."""
    key = repr((config, skeleton, HEADS[config.head.kind]))
    if key not in _ABSTRACT:
        _ABSTRACT[key] = nnx.eval_shape(lambda: MamKPD(config, skeleton, rngs=ParamKeys(0)))
    return _ABSTRACT[key]


def split(model: nnx.Module) -> tuple[nnx.GraphDef, dict[str, Any], dict[str, Any]]:
    """A module's structure, parameters and batch statistics; the arrays are nested dicts by layer name."""
    graphdef, params, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)
