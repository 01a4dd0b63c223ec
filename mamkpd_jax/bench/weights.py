"""Random weights for benches: no time depends on them."""

import dataclasses
from typing import Any

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.model.mamkpd import MamKPD, ParamKeys, split, variant
from mamkpd_jax.skeletons import COCO

INPUT_HW = (256, 192)


def config_of(name: str, input_hw: tuple[int, int] = INPUT_HW, **changes: Any) -> Config:
    """The config of a variant of the model, without the flip test; `changes` are fields of its ModelConfig."""
    model = dataclasses.replace(variant(name), **changes)
    data = DataConfig(dataset="synthetic_people", input_hw=input_hw)
    return Config(model=model, data=data, eval=EvalConfig(flip_test=False))


def random_weights(name: str, input_hw: tuple[int, int] = INPUT_HW, **changes: Any) -> Artifact:
    """A variant of the model as it is initialised, for COCO's joints and the config of `config_of`."""
    config = config_of(name, input_hw, **changes)
    _, params, batch_stats = split(MamKPD(config, COCO, rngs=ParamKeys(0)))
    return Artifact(config=config, skeleton=COCO, step=0, params=params, batch_stats=batch_stats)
