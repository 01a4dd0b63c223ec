"""Everything that a training step changes, as plain arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh

from mamkpd_jax.config import Config
from mamkpd_jax.model.mamkpd import MamKPD, ParamKeys, split
from mamkpd_jax.sharding import state_sharding
from mamkpd_jax.skeletons import Skeleton


@struct.dataclass
class TrainState:
    """Parameters and batch statistics as nested dicts by layer name, the optimizer's state and the step count.

    The step's random keys are derived from the seed and `step`, so they need no state. `ema` is the moving average of
    the parameters, or None. The fields are `Any`, because JAX also makes states of shapes and of shardings.
    """

    step: Any  # int32 []
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any = None

    @property
    def eval_params(self) -> dict[str, Any]:
        """The parameters to predict with: the moving average if there is one."""
        return self.params if self.ema is None else self.ema


def create_state(config: Config, skeleton: Skeleton, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """The state of an initialised model, on the devices of the mesh."""

    def init() -> TrainState:
        _, params, batch_stats = split(MamKPD(config, skeleton, rngs=ParamKeys(config.seed)))
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=batch_stats,
            opt_state=optimizer.init(params),
            ema=params if config.optim.ema_decay else None,
        )

    return jax.jit(init, out_shardings=state_sharding(mesh, jax.eval_shape(init)))()
