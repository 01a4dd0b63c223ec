"""Evaluates a checkpoint: python eval.py --config=configs/NAME.py --workdir=DIR [--config.SECTION.FIELD=VALUE ...]

Scores the held-out split with the newest checkpoint of a training run, on ground-truth boxes or on those of
--config.eval.detections=FILE. Prints a table, and writes report.json, results.json (COCO's results form) and
predictions.png.
"""

import dataclasses
from functools import partial
from pathlib import Path

from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.config import Config
from mamkpd_jax.data.datasets import open_dataset
from mamkpd_jax.evaluation import report
from mamkpd_jax.evaluation.evaluator import Evaluator
from mamkpd_jax.inference.predict import make_predict
from mamkpd_jax.training.checkpoint import Checkpointer
from mamkpd_jax.training.mesh import check_batch, data_mesh
from mamkpd_jax.training.optimizer import optimizer
from mamkpd_jax.training.state import create_state

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the training run, with its checkpoints.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the report. Default: WORKDIR/eval.")


def evaluate(config: Config, workdir: Path, output: Path) -> dict[str, float]:
    """Evaluates the newest checkpoint of `workdir`, writes the report below `output` and returns the metrics.

    Raises:
        UserError: a config field, the data set or the checkpoint can't be right.
    """
    config.validate()
    mesh = data_mesh()
    check_batch("eval.batch_size", config.eval.batch_size, mesh)
    checkpointer = Checkpointer(workdir, config, read_only=True)
    dataset = open_dataset(config)
    adam = optimizer(config.optim, steps_per_epoch=1)
    graphdef, state = create_state(config.model, dataset.skeleton.n_joints, adam, config.seed, mesh)
    state = checkpointer.restore(state)
    predict = make_predict(graphdef, config, dataset.skeleton, mesh)
    evaluation = Evaluator(dataset, config)(partial(predict, state.params, state.batch_stats))
    report.save(output, evaluation, dataset, step=int(state.step), config=dataclasses.asdict(config))
    print(report.format_table(evaluation.metrics, dataset.skeleton))
    print(f"{report.REPORT}, {report.RESULTS} and {report.PICTURE} are in {output}")
    return evaluation.metrics


def main() -> None:
    workdir = Path(_WORKDIR.value)
    evaluate(_CONFIG.value, workdir, Path(_OUTPUT.value) if _OUTPUT.value else workdir / "eval")


if __name__ == "__main__":
    cli.run(main)
