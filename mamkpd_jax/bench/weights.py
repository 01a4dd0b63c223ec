"""Models with random weights for benchmarks, as times do not depend on weights."""

import dataclasses
from typing import Any

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.model.mamkpd import MamKPD, ParamKeys, split, variant
from mamkpd_jax.skeletons import COCO

INPUT_HW = (256, 192)


def config_of(name: str, input_hw: tuple[int, int] = INPUT_HW, **changes: Any) -> Config:
    """The config of a variant of the model, without the flip test.

    Args:
        name: a variant, such as "base".
        input_hw: crop height and width in pixels.
        changes: fields of its ModelConfig.
    """
    model = dataclasses.replace(variant(name), **changes)
    data = DataConfig(dataset="synthetic_people", input_hw=input_hw)
    return Config(model=model, data=data, eval=EvalConfig(flip_test=False))


def random_weights(name: str, input_hw: tuple[int, int] = INPUT_HW, **changes: Any) -> Artifact:
    """A randomly initialised variant of the model for COCO's keypoints, with the config of `config_of`."""
    config = config_of(name, input_hw, **changes)
    _, params, batch_stats = split(MamKPD(config, COCO, rngs=ParamKeys(0)))
    return Artifact(config=config, skeleton=COCO, step=0, params=params, batch_stats=batch_stats)
