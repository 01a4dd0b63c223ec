"""Trains MamKPD: python train.py --config=configs/NAME.py --workdir=DIR [--config.SECTION.FIELD=VALUE ...]

The run goes on from the newest checkpoint of the working directory, where there is one. It ends with an evaluation of
the held-out split: report.json, results.json (COCO's results form) and predictions.png in the working directory.
"""

from pathlib import Path

import jax
from absl import flags, logging
from mamkpd_jax.data.datasets import open_dataset
from mamkpd_jax.evaluation.evaluator import Evaluator

from mamkpd_jax import cli
from mamkpd_jax.config import Config
from mamkpd_jax.data.pipeline import DamageGuard, train_batches
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.predict import make_predict
from mamkpd_jax.training.checkpoint import Checkpointer
from mamkpd_jax.training.logs import Logger
from mamkpd_jax.training.mesh import batch_sharded, check_batch, data_mesh
from mamkpd_jax.training.optimizer import learning_rate, optimizer
from mamkpd_jax.training.state import create_state
from mamkpd_jax.training.step import make_train_step

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run: checkpoints, logs, report.", required=True
)


def train(config: Config, workdir: Path) -> dict[str, float]:
    """Trains to the last epoch, from the newest checkpoint of `workdir` if there is one, and evaluates.

    Returns:
        The metrics of the held-out split, as in `workdir`/report.json.

    Raises:
        UserError: a config field, the data set or a checkpoint in `workdir` can't be right.
    """
    config.validate()
    mesh = data_mesh()
    check_batch("optim.batch_size", config.optim.batch_size, mesh)
    check_batch("eval.batch_size", config.eval.batch_size, mesh)

    dataset = open_dataset(config.data)
    steps_per_epoch = len(dataset.train) // config.optim.batch_size
    if steps_per_epoch == 0:
        raise UserError(
            f"the training split has {len(dataset.train)} instances, fewer than config.optim.batch_size="
            f"{config.optim.batch_size}; set a smaller batch"
        )
    last_step = config.optim.epochs * steps_per_epoch
    batches = train_batches(dataset.train, dataset.train_crop, config)
    guard = DamageGuard(dataset.train)

    adam = optimizer(config.optim, steps_per_epoch)
    graphdef, state = create_state(config.model, dataset.skeleton.n_joints, adam, config.seed, mesh)
    train_step = make_train_step(graphdef, adam, config, mesh)
    evaluator = Evaluator(dataset, config, make_predict(graphdef, config, dataset.skeleton, mesh))

    checkpointer = Checkpointer(workdir, config)
    if checkpointer.latest_step is not None:
        state = checkpointer.restore(state, batches)
        logging.info("going on from step %d of %d in %s", state.step, last_step, workdir)
    first_step = int(state.step)
    schedule = learning_rate(config.optim, steps_per_epoch)
    logger = Logger(workdir, config, first_step, last_step, steps_per_epoch)
    for step in range(first_step + 1, last_step + 1):
        batch = next(batches)
        guard.check(batch)
        arrays = {name: batch[name] for name in ("image", "keypoints", "visible")}
        state, metrics = train_step(state, jax.device_put(arrays, batch_sharded(mesh)))
        logger.log_step(step, metrics, float(schedule(step - 1)))
        if step % (config.eval.every_epochs * steps_per_epoch) == 0 and step < last_step:
            logger.log_evaluation(step, evaluator(state.params, state.batch_stats).metrics)
        checkpointer.maybe_save(step, state, batches, force=step == last_step)
    logger.close()
    checkpointer.close()

    evaluation = evaluator(state.params, state.batch_stats)
    evaluation.write(workdir)
    return evaluation.metrics


def main() -> None:
    train(_CONFIG.value, Path(_WORKDIR.value))


if __name__ == "__main__":
    cli.run(main)
