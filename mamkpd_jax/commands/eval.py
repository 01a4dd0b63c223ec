"""Evaluates a checkpoint, or a results file from any program.

mamkpd eval --workdir=DIR [--config.SECTION.FIELD=VALUE ...]
    Scores the newest checkpoint of a training run on the validation split, in ground-truth boxes or in those of
    --config.eval.detections=FILE. Prints a table, and writes report.json, results.json (COCO's results form),
    predictions.png and worst.png. The config is --config=NAME|FILE, by default that of the checkpoint.
mamkpd eval --checkpoint=NAME|DIR|FILE --output=DIR [--config.SECTION.FIELD=VALUE ...]
    The same for a named model or a file of weights.
mamkpd eval --config=NAME|FILE --predictions=FILE --annotations=FILE [--report=FILE]
    Scores a results file with the metrics of the config.
"""

import dataclasses
from functools import cache, partial
from pathlib import Path

import jax
from absl import flags

from mamkpd_jax import cli, compilation_cache
from mamkpd_jax.artifact.artifact import Artifact, without_scan
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.config import Config, differences
from mamkpd_jax.data.opening import open_evaluation_data
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation import report
from mamkpd_jax.evaluation.evaluator import Evaluator
from mamkpd_jax.evaluation.scores import score_files
from mamkpd_jax.files import write_json
from mamkpd_jax.program import Options, compiled, make_program
from mamkpd_jax.registry import DATASETS
from mamkpd_jax.sharding import check_batch, data_mesh, replicated
from mamkpd_jax.training.checkpoint import check_same_joints, check_same_model

_CONFIG = cli.define_config(lambda: _model_config())
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the training run, with its checkpoints.", allow_override=True
)
_CHECKPOINT = cli.define_checkpoint("")
_BEST, _EMA = cli.define_weights_choice()
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the report. Default: WORKDIR/eval.", allow_override=True)
_PREDICTIONS = flags.DEFINE_string(
    "predictions", None, "A results file to score; for MPII .mat or .npz with an array preds."
)
_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "The ground truth for --predictions; for MPII gt_valid.mat.", allow_override=True
)
_REPORT = flags.DEFINE_string("report", None, "File to write the scores of --predictions to, as JSON.")
_CACHE = compilation_cache.define_flag()


def evaluate(config: Config, artifact: Artifact, output: Path, *, source: str | Path) -> dict[str, float]:
    """Evaluates a model, writes the report to the folder `output` and returns the metrics.

    Args:
        source: the model's name, run directory or file, for messages.

    Raises:
        UserError: the config is invalid, the data set is missing or damaged, or the model does not fit them.
    """
    config.validate()
    mesh = data_mesh()
    check_batch("eval.batch_size", config.eval.batch_size, mesh.size)
    check_same_model(f"the checkpoint of {source}", differences(artifact.config, without_scan(config)))
    dataset = open_evaluation_data(config)
    check_same_joints(f"the checkpoint of {source}", artifact.skeleton, dataset.skeleton)
    options = Options(flip_test=config.eval.flip_test, scan=config.model.scan)
    predict = compiled(make_program(config, dataset.skeleton, options), mesh)
    arrays = jax.device_put((artifact.params, artifact.batch_stats), replicated(mesh))
    evaluation = Evaluator(dataset, config)(partial(predict, *arrays))
    about = {"step": artifact.step, "split": config.eval.split, "config": dataclasses.asdict(config)}
    report.save(output, evaluation, dataset, **about)
    print(f"{config.data.dataset}, {config.eval.split}")
    print(report.format_table(evaluation.metrics))
    print(f"{', '.join(report.FILES)} are in {output}")
    return evaluation.metrics


def evaluate_file(config: Config, predictions: Path, annotations: Path, output: Path | None) -> dict[str, float]:
    """Scores a results file from any program, writes the report to `output` if given and returns the metrics.

    Raises:
        UserError: the config is invalid, or one of the files is missing or damaged.
    """
    config.validate()
    skeleton = DATASETS[config.data.dataset].known_skeleton(config.data)
    metrics = score_files(config.eval.metrics, predictions, annotations, skeleton).values
    print(report.format_table(metrics))
    if output is not None:
        write_json(output, {"predictions": str(predictions), "annotations": str(annotations), **metrics})
        print(f"the report is {output}")
    return metrics


def main() -> None:
    compilation_cache.enable(_CACHE.value)
    source, predictions, annotations = _source(), _PREDICTIONS.value, _ANNOTATIONS.value
    if source is not None:
        output = Path(_OUTPUT.value or Path(source) / "eval")
        evaluate(_CONFIG.value, _artifact(source), output, source=source)
    elif predictions and annotations:
        report_file = Path(_REPORT.value) if _REPORT.value else None
        evaluate_file(_CONFIG.value, Path(predictions), Path(annotations), report_file)


def _source() -> str | Path | None:
    """The model's run directory, name or file; None if the flags name a results file.

    Raises:
        UserError: the flags name both, or neither.
    """
    workdir, checkpoint, files = _WORKDIR.value, _CHECKPOINT.value, (_PREDICTIONS.value, _ANNOTATIONS.value)
    if workdir and not (checkpoint or any(files)):
        return Path(workdir)
    if checkpoint and _OUTPUT.value and not (workdir or any(files)):
        return checkpoint
    if all(files) and not (workdir or checkpoint):
        return None
    raise UserError(
        "give either --workdir, or --checkpoint and --output, to evaluate a model, or --predictions and --annotations"
    )


def _model_config() -> Config | None:
    """The config of the model that the flags name; None if they name a results file."""
    source = _source()
    return None if source is None else _artifact(source).config


@cache
def _artifact(source: str | Path) -> Artifact:
    """The model, which is read once for both its config and its weights."""
    return read_artifact(source, best=_BEST.value, ema=_EMA.value)
