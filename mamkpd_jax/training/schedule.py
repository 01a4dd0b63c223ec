"""The steps at which a run evaluates and ends."""

import dataclasses
from collections.abc import Iterator

from mamkpd_jax.config import Config
from mamkpd_jax.errors import UserError


@dataclasses.dataclass(frozen=True, slots=True)
class Schedule:
    """A run's length in steps. A step is one global batch; an epoch drops its last incomplete batch."""

    steps_per_epoch: int
    last_step: int
    evaluate_every_steps: int

    @staticmethod
    def of(config: Config, n_instances: int) -> "Schedule":
        """The schedule for a training split of `n_instances`.

        Raises:
            UserError: they are fewer than one batch.
        """
        steps_per_epoch = n_instances // config.optim.batch_size
        if steps_per_epoch == 0:
            raise UserError(
                f"the training split has {n_instances} instances, fewer than config.optim.batch_size="
                f"{config.optim.batch_size}, so that no batch is full; set --config.optim.batch_size={n_instances} or "
                "less"
            )
        return Schedule(
            steps_per_epoch, config.optim.epochs * steps_per_epoch, config.eval.every_epochs * steps_per_epoch
        )

    def evaluations(self, step: int) -> Iterator[int]:
        """The steps, from `step` on, at which a run evaluates; the last one is its last step."""
        every = self.evaluate_every_steps
        yield from range(max(-(-step // every), 1) * every, self.last_step, every)
        yield max(step, self.last_step)
