"""Finds config fields that don't fit the data set or each other, for the log before a run's first step.

Such a run still trains, so none of them is an error.
"""

from collections.abc import Iterator

from absl import logging

from mamkpd_jax.config import Config, OptimConfig
from mamkpd_jax.data.opening import PoseData
from mamkpd_jax.training.schedule import Schedule

_MOST_LEFT_OUT = 1 / 3  # share of an epoch's instances that may be left out without a remark


def remarks(config: Config, schedule: Schedule, dataset: PoseData) -> Iterator[tuple[int, str]]:
    """Lines for the log, each with its absl level."""
    optim = config.optim
    yield from _on_learning_rate(optim, schedule)
    n = len(dataset.train)
    left_out = n - schedule.steps_per_epoch * optim.batch_size
    if left_out > _MOST_LEFT_OUT * n:
        yield (
            logging.WARNING,
            f"each epoch leaves out {left_out} of {n} instances, the last incomplete batch of config.optim.batch_size="
            f"{optim.batch_size}; set --config.optim.batch_size={n // 2} or less",
        )
    augmentation, skeleton = dataset.train_crop.augmentation, dataset.skeleton
    if augmentation is not None and augmentation.half_body_p and not augmentation.has_half_bodies(skeleton):
        yield (
            logging.INFO,
            f"config.data.augmentation={config.data.augmentation} makes no half-body crops here: too few keypoints "
            f"of the skeleton {skeleton.name!r} are in its upper_body and lower_body; a skeleton file with these "
            "fields turns them on",
        )


def _on_learning_rate(config: OptimConfig, schedule: Schedule) -> Iterator[tuple[int, str]]:
    decays = [epoch * schedule.steps_per_epoch for epoch in config.decay_epochs]
    early = [step for step in decays if step < min(config.warmup_steps, schedule.last_step)]
    epochs = f"config.optim.decay_epochs={tuple(config.decay_epochs)}"
    low = (
        f"inside the warm-up of {config.warmup_steps} steps (config.optim.warmup_steps): the learning rate never "
        "reaches its peak; set --config.optim.warmup_steps below"
    )
    if early:
        yield (
            logging.WARNING,
            f"{epochs} decays at step {_listed(early)}, {low} {min(early)}, or later decay epochs",
        )
    elif schedule.last_step < config.warmup_steps:
        yield logging.WARNING, f"the run ends at step {schedule.last_step}, {low} that, or more epochs"
    if late := [epoch for epoch in config.decay_epochs if epoch >= config.epochs]:
        yield (
            logging.INFO,
            f"{epochs}: there is no decay at {_listed(late)}, as the run ends with epoch {config.epochs}",
        )


def _listed(numbers: list[int]) -> str:
    return " and ".join(map(str, numbers))
