"""Adam, or AdamW, with warm-up and step decay (MamKPD sec. 4.1)."""

from typing import Any

import jax
import optax

from mamkpd_jax.config import OptimConfig

_KERNELS = ("kernel", "x_proj", "dt_weight")


def learning_rate(config: OptimConfig, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate by step: a linear warm-up; at each decay epoch it is multiplied by the decay factor."""
    decays = {epoch * steps_per_epoch: config.decay_factor for epoch in config.decay_epochs}
    decayed = optax.piecewise_constant_schedule(config.peak_learning_rate, decays)
    warmup = optax.linear_schedule(config.warmup_factor, 1.0, config.warmup_steps) if config.warmup_steps else None

    def schedule(step):
        return decayed(step) * (1.0 if warmup is None else warmup(step))

    return schedule


def optimizer(config: OptimConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Adam or AdamW, after clipping by the gradient's global norm."""
    schedule = learning_rate(config, steps_per_epoch)
    if config.optimizer == "adam":
        inner = optax.adam(schedule)
    else:
        inner = optax.adamw(schedule, weight_decay=config.weight_decay, mask=decayed)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), inner)


def decayed(params: dict[str, Any]) -> dict[str, Any]:
    """A mask of the parameters with weight decay: kernels, but not norms, biases, or the scan's A, D and delta bias.

    Source: Mamba, arXiv 2312.00752, which exempts A, D and delta's bias from weight decay.
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in _KERNELS, params)
