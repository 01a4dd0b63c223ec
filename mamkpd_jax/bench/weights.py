"""Random weights for benches: no time depends on them."""

import dataclasses
from typing import Any

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.model.mamkpd import MamKPD, ParamKeys, split, variant
from mamkpd_jax.skeletons import COCO

INPUT_HW = (256, 192)


def random_weights(name: str, input_hw: tuple[int, int] = INPUT_HW, **changes: Any) -> Artifact:
    """A variant of the model as it is initialised, for COCO's joints; `changes` are fields of its ModelConfig.

    Without the flip test, unless a bench asks for it.
    """
    model = dataclasses.replace(variant(name), **changes)
    data = DataConfig(dataset="synthetic_people", input_hw=input_hw)
    config = Config(model=model, data=data, eval=EvalConfig(flip_test=False))
    _, params, batch_stats = split(MamKPD(config, COCO, rngs=ParamKeys(0)))
    return Artifact(config=config, skeleton=COCO, step=0, params=params, batch_stats=batch_stats)
