"""The compiled training step: a pure function of the state and a batch."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from jax.sharding import Mesh

from mamkpd_jax.compilation import jit
from mamkpd_jax.config import Config
from mamkpd_jax.heads._head import head_of
from mamkpd_jax.model.mamkpd import abstract, normalize
from mamkpd_jax.sharding import batch_sharded, replicated
from mamkpd_jax.skeletons import Skeleton
from mamkpd_jax.training.state import TrainState

Batch = dict[str, Array]  # image uint8 [b, h, w, 3], keypoints float [b, j, 2] in crop pixels, visible float [b, j]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]


_KEYS = ("image", "keypoints", "visible")


def shard_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> Batch:
    """The arrays of a batch that the step needs, split over the devices; `batch` is this process's part."""
    sharding = batch_sharded(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, batch[name]) for name in _KEYS}


def make_loss(config: Config, skeleton: Skeleton) -> Callable[[Any, Any, Array, Batch], tuple[Array, Any]]:
    """The function `(params, batch_stats, key, batch) -> (loss, new batch_stats)`; the key is for stochastic depth."""
    graphdef, head = nnx.graphdef(abstract(config, skeleton)), head_of(config, skeleton)

    def loss(params: Any, batch_stats: Any, key: Array, batch: Batch) -> tuple[Array, Any]:
        model = nnx.merge(graphdef, params, batch_stats, copy=True)
        model.train()
        outputs = model(normalize(batch["image"]), nnx.Rngs(drop_path=key))
        value = head.loss(outputs, *head.encode(batch["keypoints"], batch["visible"]))
        return value, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    return loss


def make_train_step(
    state: TrainState, optimizer: optax.GradientTransformation, config: Config, skeleton: Skeleton, mesh: Mesh
) -> TrainStep:
    """The step `(state, batch) -> (state, {"loss", "grad_norm"})`, compiled for the mesh and the placement of `state`.

    BatchNorm's statistics are those of the global batch, because the step is one program over it. With
    `config.optim.accumulate` above 1, they are those of each part of the global batch. A step whose loss or gradient is
    not finite changes only the step count. The input state is donated.
    """
    loss = make_loss(config, skeleton)

    def gradients(state: TrainState, batch: Batch) -> tuple[Array, Any, Any]:
        """Loss, batch statistics and gradient; loss and gradient are means over the parts of the batch."""
        gradient = jax.value_and_grad(loss, has_aux=True)
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        n = config.optim.accumulate
        if n == 1:
            (value, batch_stats), grads = gradient(state.params, state.batch_stats, key, batch)
            return value, batch_stats, grads

        def add(carry: tuple, part: tuple) -> tuple[tuple, None]:
            total, batch_stats, sums = carry
            (value, batch_stats), grads = gradient(state.params, batch_stats, *part)
            return (total + value / n, batch_stats, jax.tree.map(lambda a, b: a + b / n, sums, grads)), None

        # A part is every n-th example, so that each device already has its share of every part.
        parts = {name: jnp.moveaxis(x.reshape(-1, n, *x.shape[1:]), 1, 0) for name, x in batch.items()}
        start = jnp.zeros(()), state.batch_stats, jax.tree.map(jnp.zeros_like, state.params)
        return jax.lax.scan(add, start, (jax.random.split(key, n), parts))[0]

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        value, batch_stats, grads = gradients(state, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params: Any = optax.apply_updates(state.params, updates)
        ema = None if state.ema is None else _averaged(state.ema, params, config.optim.ema_decay, state.step)
        stepped = state.replace(params=params, batch_stats=batch_stats, opt_state=opt_state, ema=ema)  # type: ignore
        metrics = {"loss": value, "grad_norm": optax.tree.norm(grads)}
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), stepped, state)
        return kept.replace(step=state.step + 1), metrics

    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    return jit(
        step,
        donate_argnums=0,
        in_shardings=(places, batch_sharded(mesh)),
        out_shardings=(places, replicated(mesh)),
    )


def _averaged(ema: Any, params: Any, decay: float, step: Array) -> Any:
    """The next moving average. Choice: it decays faster in the first steps, like TensorFlow's with `num_updates`."""
    rate = 1 - jnp.minimum(decay, (1 + step) / (10 + step))
    return optax.incremental_update(params, ema, rate)
