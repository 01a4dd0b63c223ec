"""Trains MamKPD: python train.py --config=configs/NAME.py --workdir=DIR [--config.SECTION.FIELD=VALUE ...]

The run goes on from the newest checkpoint of the working directory, where there is one. It ends with an evaluation of
the held-out split: report.json, results.json (COCO's results form), predictions.png and worst.png there.
"""

import dataclasses
from functools import partial
from pathlib import Path

from absl import flags, logging

from mamkpd_jax import cli
from mamkpd_jax.config import Config
from mamkpd_jax.data.datasets import open_dataset
from mamkpd_jax.data.pipeline import DamageGuard, train_batches
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation import report
from mamkpd_jax.evaluation.evaluator import Evaluator
from mamkpd_jax.inference.predict import make_predict
from mamkpd_jax.training.checkpoint import Checkpointer
from mamkpd_jax.training.logs import Logger
from mamkpd_jax.training.mesh import check_batch, data_mesh
from mamkpd_jax.training.optimizer import optimizer
from mamkpd_jax.training.state import create_state
from mamkpd_jax.training.step import make_train_step, shard_batch

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, logs, report.", required=True)


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

    dataset = open_dataset(config)
    steps_per_epoch = len(dataset.train) // config.optim.batch_size
    if steps_per_epoch == 0:
        raise UserError(
            f"the training split has {len(dataset.train)} instances, fewer than config.optim.batch_size="
            f"{config.optim.batch_size}; set a smaller batch"
        )
    last_step = config.optim.epochs * steps_per_epoch
    batches = train_batches(dataset.train, dataset.train_crop, config)
    guard = DamageGuard(dataset.train.n_images)

    adam = optimizer(config.optim, steps_per_epoch)
    graphdef, state = create_state(config.model, dataset.skeleton.n_joints, adam, config.seed, mesh)
    train_step = make_train_step(graphdef, adam, config, mesh)
    predict = make_predict(graphdef, config, dataset.skeleton, mesh)
    evaluator = Evaluator(dataset, config)

    checkpointer = Checkpointer(workdir, config)
    if checkpointer.latest_step is not None:
        state = checkpointer.restore(state, batches)
        progress = "done" if int(state.step) >= last_step else f"going on from step {state.step}"
        logging.info("%s: %s, of %d steps", workdir, progress, last_step)
    logger = Logger(workdir, config, int(state.step), last_step, steps_per_epoch)
    for step in range(int(state.step) + 1, last_step + 1):
        batch = next(batches)
        guard.check(batch)
        state, metrics = train_step(state, shard_batch(batch, mesh))
        logger.log_step(step, metrics)
        if step % (config.eval.every_epochs * steps_per_epoch) == 0 and step < last_step:
            logger.log_evaluation(step, evaluator(partial(predict, state.params, state.batch_stats)).metrics)
        checkpointer.maybe_save(step, state, batches, force=step == last_step)
    checkpointer.close()

    evaluation = evaluator(partial(predict, state.params, state.batch_stats))
    logger.log_evaluation(int(state.step), evaluation.metrics)
    logger.close()
    report.save(workdir, evaluation, dataset, step=int(state.step), config=dataclasses.asdict(config))
    print(report.format_table(evaluation.metrics))
    print(f"checkpoints, TensorBoard logs, {', '.join(report.FILES)} are in {workdir}")
    return evaluation.metrics


def main() -> None:
    train(_CONFIG.value, Path(_WORKDIR.value))


if __name__ == "__main__":
    cli.run(main)
