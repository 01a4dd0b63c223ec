"""The compiled training step: the one place where the module is merged with its state."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax import Array
from jax.sharding import Mesh

from mamkpd_jax.codec import encode_heatmaps
from mamkpd_jax.config import Config
from mamkpd_jax.losses import heatmap_mse
from mamkpd_jax.models.mamkpd import normalize
from mamkpd_jax.training.mesh import batch_sharded, replicated
from mamkpd_jax.training.state import TrainState

Batch = dict[str, Array]  # image uint8 [b, h, w, 3], keypoints float [b, j, 2] in crop pixels, visible float [b, j]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]


_KEYS = ("image", "keypoints", "visible")


def shard_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> Batch:
    """What the step needs of a batch, split over the devices."""
    return jax.device_put({name: batch[name] for name in _KEYS}, batch_sharded(mesh))


def make_train_step(
    graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation, config: Config, mesh: Mesh
) -> TrainStep:
    """The step `(state, batch) -> (state, {"loss", "grad_norm"})`, compiled for the mesh.

    BatchNorm's statistics are over the global batch, as the whole step is one program over it. The state that goes
    in is donated.
    """

    def loss(params: Any, batch_stats: Any, step: Array, batch: Batch) -> tuple[Array, Any]:
        model = nnx.merge(graphdef, params, batch_stats, copy=True)
        model.train()
        rngs = nnx.Rngs(drop_path=jax.random.fold_in(jax.random.key(config.seed), step))
        predicted = model(normalize(batch["image"]), rngs)
        target, weights = encode_heatmaps(
            batch["keypoints"],
            batch["visible"],
            config.data.input_hw,
            config.heatmap_hw,
            config.data.sigma_px,
            config.data.codec,
        )
        return heatmap_mse(predicted, target, weights), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, batch_stats), grads = gradient(state.params, state.batch_stats, state.step, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        state = TrainState(
            step=state.step + 1,
            params=dict(optax.apply_updates(state.params, updates)),  # type: ignore[arg-type]
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return state, {"loss": value, "grad_norm": optax.tree.norm(grads)}

    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(replicated(mesh), batch_sharded(mesh)),
        out_shardings=replicated(mesh),
    )
