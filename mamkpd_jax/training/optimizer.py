"""Adam with warm-up and step decay (MamKPD sec. 4.1)."""

import optax

from mamkpd_jax.config import OptimConfig


def learning_rate(config: OptimConfig, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then divided at the decay epochs."""
    decays = {epoch * steps_per_epoch: config.decay_factor for epoch in config.decay_epochs}
    decayed = optax.piecewise_constant_schedule(config.learning_rate, decays)
    warmup = optax.linear_schedule(config.warmup_factor, 1.0, config.warmup_steps) if config.warmup_steps else None

    def schedule(step):
        return decayed(step) * (1.0 if warmup is None else warmup(step))

    return schedule


def optimizer(config: OptimConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Adam behind a clip of the gradient's global norm."""
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(learning_rate(config, steps_per_epoch)))
