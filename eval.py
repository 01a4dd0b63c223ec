"""Evaluates a checkpoint: python eval.py --config=configs/NAME.py --workdir=DIR [--config.SECTION.FIELD=VALUE ...]

Scores the held-out split with the newest checkpoint of a training run, on ground-truth boxes or on those of
--config.eval.detections=FILE. Prints a table, and writes report.json, results.json (COCO's results form),
predictions.png and worst.png.

python eval.py --config=configs/NAME.py --predictions=FILE --annotations=FILE --report=FILE scores a results file of any
program in place of a checkpoint, by the metrics of the config.
"""

import dataclasses
from functools import partial
from pathlib import Path

from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.config import Config
from mamkpd_jax.data.datasets import open_dataset
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation import report
from mamkpd_jax.evaluation.evaluator import Evaluator
from mamkpd_jax.evaluation.files import score_files
from mamkpd_jax.inference.predict import make_predict
from mamkpd_jax.training.checkpoint import Checkpointer
from mamkpd_jax.training.mesh import check_batch, data_mesh
from mamkpd_jax.training.optimizer import optimizer
from mamkpd_jax.training.state import create_state

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the training run, with its checkpoints.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the report. Default: WORKDIR/eval.")
_PREDICTIONS = flags.DEFINE_string("predictions", None, "A results file to score; for MPII .mat or .npz with preds.")
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "The annotations to score it by; for MPII gt_valid.mat.")
_REPORT = flags.DEFINE_string("report", None, "Where to write the scores of --predictions as JSON.")


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
    print(report.format_table(evaluation.metrics))
    print(f"{', '.join(report.FILES)} are in {output}")
    return evaluation.metrics


def evaluate_file(config: Config, predictions: Path, annotations: Path, output: Path | None) -> dict[str, float]:
    """Scores a results file of any program, writes the report to `output` if given and returns the metrics.

    Raises:
        UserError: a config field or one of the files can't be right.
    """
    config.validate()
    metrics = score_files(config.eval.metrics, predictions, annotations, config.data.skeleton_name).figures
    print(report.format_table(metrics))
    if output is not None:
        report.write_json(output, {"predictions": str(predictions), "annotations": str(annotations), **metrics})
        print(f"the report is {output}")
    return metrics


def main() -> None:
    workdir, predictions, annotations = _WORKDIR.value, _PREDICTIONS.value, _ANNOTATIONS.value
    if predictions and annotations and not workdir:
        evaluate_file(
            _CONFIG.value, Path(predictions), Path(annotations), Path(_REPORT.value) if _REPORT.value else None
        )
    elif workdir and not (predictions or annotations):
        evaluate(_CONFIG.value, Path(workdir), Path(_OUTPUT.value) if _OUTPUT.value else Path(workdir) / "eval")
    else:
        raise UserError("give either --workdir, to evaluate a checkpoint, or --predictions and --annotations")


if __name__ == "__main__":
    cli.run(main)
