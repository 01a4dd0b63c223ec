"""Trains a model, and evaluates it on the validation split.

mamkpd train --config=NAME|FILE --workdir=DIR [--config.SECTION.FIELD=VALUE ...]

The run resumes from the newest checkpoint in DIR, if there is one. At the end it writes report.json, results.json
(COCO's results form), predictions.png and worst.png to DIR. Ctrl-C and SIGTERM save a checkpoint before the exit.
docs/training.md covers multi-GPU and multi-host training, fine-tuning and the files of DIR.
"""

import dataclasses
from functools import partial
from pathlib import Path

import jax
from absl import flags, logging

from mamkpd_jax import cli, compilation_cache, processes
from mamkpd_jax.config import Config
from mamkpd_jax.data.opening import open_dataset
from mamkpd_jax.data.pipeline import DamageGuard, train_batches
from mamkpd_jax.evaluation import report
from mamkpd_jax.evaluation.evaluator import Evaluator
from mamkpd_jax.heads._head import head_of
from mamkpd_jax.program import Options, compiled, make_program
from mamkpd_jax.sharding import check_batch, data_mesh, gathered, training_mesh
from mamkpd_jax.training.checkpoint import Checkpointer
from mamkpd_jax.training.dry_run import dry_run
from mamkpd_jax.training.feed import Feed
from mamkpd_jax.training.finetune import read_start, start_from
from mamkpd_jax.training.guard import NonFiniteGuard
from mamkpd_jax.training.interruption import Interrupted, Interruption
from mamkpd_jax.training.lock import sole_training
from mamkpd_jax.training.logs import Logger
from mamkpd_jax.training.optimizer import optimizer
from mamkpd_jax.training.remarks import remarks
from mamkpd_jax.training.schedule import Schedule
from mamkpd_jax.training.state import create_state
from mamkpd_jax.training.step import make_train_step

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run: checkpoints, logs, report.", required=True, allow_override=True
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Compile, run two steps, print the run's time and memory, and write no run directory."
)
_CACHE = compilation_cache.define_flag()
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join a run of several processes, described by SLURM, Kubernetes, Open MPI or the next flags."
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, the same for all processes.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "The number of processes of the run.", lower_bound=1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "The index of this process, from 0.", lower_bound=0)


def train(config: Config, workdir: Path, *, only_dry: bool = False) -> dict[str, float]:
    """Trains to the last epoch, from the newest checkpoint of `workdir` if there is one, and evaluates.

    Args:
        only_dry: compile, run two steps on one batch, print the time and memory of the run, and write no run directory.

    Returns:
        The metrics of the validation split, as in `workdir`/report.json; empty if the run was dry or interrupted.

    Raises:
        UserError: the config is invalid, the data set or a checkpoint in `workdir` is missing, damaged or does not fit
            it, another process trains in `workdir`, the loss is not finite, or a checkpoint can't be written.
    """
    config.validate()
    mesh = training_mesh(config.fsdp)
    check_batch("optim.batch_size", config.optim.batch_size, mesh.size * config.optim.accumulate)
    check_batch("eval.batch_size", config.eval.batch_size, jax.local_device_count())
    start = read_start(config)
    with processes.process_0_first():
        dataset = open_dataset(config)
    schedule = Schedule.of(config, len(dataset.train))
    for level, line in remarks(config, schedule, dataset):
        logging.log(level, "%s", line)
    batches = train_batches(dataset.train, dataset.train_crop, config, (jax.process_index(), jax.process_count()))
    feed = Feed(batches, mesh, DamageGuard(dataset.train.n_images).check)

    adam = optimizer(config.optim, schedule.steps_per_epoch)
    skeleton = dataset.skeleton
    state = create_state(config, skeleton, adam, mesh)
    if start is not None:
        state = start_from(state, start, config.init_from, head_of(config, skeleton).joint_layers)
    train_step = make_train_step(state, adam, config, skeleton, mesh)
    if only_dry:
        try:
            print(dry_run(config, train_step, state, feed({})[1], schedule.last_step))
        finally:
            batches.close()
        return {}

    with sole_training(workdir):
        guard = NonFiniteGuard(config.optim)
        checkpointer = Checkpointer(workdir, config, skeleton, before_save=guard.flush)
        if checkpointer.latest_step is not None:
            state = checkpointer.restore(state, batches)
            if state.step >= schedule.last_step:
                logging.info("%s: training is complete (%d steps)", workdir, schedule.last_step)
            else:
                logging.info("%s: resuming from step %d, of %d steps", workdir, state.step, schedule.last_step)
        logger = Logger(workdir, config, schedule, int(state.step))
        options = Options(flip_test=config.eval.flip_test, scan=config.model.scan)
        predict = compiled(make_program(config, skeleton, options), data_mesh())
        evaluator = Evaluator(dataset, config)

        metrics = {}
        if state.step < schedule.last_step:
            logging.info("compiling the training step, which can take minutes")
        with Interruption() as interruption:
            try:
                for stop in schedule.evaluations(int(state.step)):
                    for step in range(int(state.step) + 1, stop + 1):
                        interruption.check(step)
                        batch, on_devices = feed(metrics)
                        state, metrics = train_step(state, on_devices)
                        guard.watch(step, batch, metrics)
                        logger.log_step(step, metrics, feed.waited_s)
                        checkpointer.maybe_save(step, state, batches, force=step == stop)
                    weights = gathered((state.eval_params, state.batch_stats), mesh)
                    evaluation = evaluator(interruption.checked(partial(predict, *weights)))
                    logger.log_evaluation(stop, evaluation.metrics, report.picture(evaluation.results, dataset))
                    checkpointer.save_best(stop, state, batches, *next(iter(evaluation.metrics.items())))
            except Interrupted:
                checkpointer.maybe_save(int(state.step), state, batches, force=True)
                logging.info(
                    "stopped at step %d of %d and saved; the same command resumes", state.step, schedule.last_step
                )
                return {}
            finally:
                batches.close()
                logger.close()
                checkpointer.close()
        if processes.is_process_0():
            about = {"step": int(state.step), "split": config.eval.split, "config": dataclasses.asdict(config)}
            report.save(workdir, evaluation, dataset, **about)
            print(f"{config.data.dataset}, {config.eval.split}")
            print(report.format_table(evaluation.metrics))
            print(f"checkpoints, TensorBoard logs, metrics.jsonl, {', '.join(report.FILES)} are in {workdir}")
    return evaluation.metrics


def main() -> None:
    compilation_cache.enable(_CACHE.value)
    if _DISTRIBUTED.value or _COORDINATOR.value:
        processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    with processes.exit_at_once_on_error():
        train(_CONFIG.value, Path(_WORKDIR.value), only_dry=_DRY_RUN.value)
