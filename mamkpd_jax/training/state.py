"""Everything that a training step changes, as plain arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct
from jax import Array
from jax.sharding import Mesh

from mamkpd_jax.config import ModelConfig
from mamkpd_jax.models.mamkpd import MamKPD
from mamkpd_jax.training.mesh import replicated


@struct.dataclass
class TrainState:
    """Parameters and batch statistics as nested dicts by layer name, the optimizer's state and the step count.

    The step's random keys are folded from the seed and `step`, so they need no state of their own.
    """

    step: Array
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: optax.OptState


def create_state(
    config: ModelConfig, n_joints: int, optimizer: optax.GradientTransformation, seed: int, mesh: Mesh
) -> tuple[nnx.GraphDef, TrainState]:
    """An initialised model's structure, and its state on every device of the mesh."""

    def init() -> TrainState:
        _, params, batch_stats = split(MamKPD(config, n_joints, rngs=nnx.Rngs(params=seed)))
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=batch_stats,
            opt_state=optimizer.init(params),
        )

    model = nnx.eval_shape(lambda: MamKPD(config, n_joints, rngs=nnx.Rngs(params=seed)))
    return nnx.graphdef(model), jax.jit(init, out_shardings=replicated(mesh))()


def split(model: nnx.Module) -> tuple[nnx.GraphDef, dict[str, Any], dict[str, Any]]:
    """A module as structure, parameters and batch statistics."""
    graphdef, params, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)
