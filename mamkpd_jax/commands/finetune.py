"""Trains a model for your own keypoints, from an annotation file and a folder of images.

mamkpd finetune --annotations=FILE --images=DIR [--workdir=runs/finetune]

FILE has keypoint annotations in COCO's form. Without --val_annotations a fifth of its images is for validation. The run
starts from the nearest shipped model, with a last layer fitted to your keypoints. It evaluates before and after
training, and writes report.md, predictions.png and worst.png to the run directory. The same command resumes, or reports
that training is complete.
"""

import dataclasses
import hashlib
import importlib.util
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import flags, logging

from mamkpd_jax import compilation_cache
from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.artifact.weight_files import save
from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.data.opening import PoseData, open_dataset
from mamkpd_jax.data.pipeline import train_batches
from mamkpd_jax.data.splitting import split_annotations
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.evaluator import Evaluator
from mamkpd_jax.files import write_json
from mamkpd_jax.program import Options, compiled, make_program
from mamkpd_jax.registry import HEADS
from mamkpd_jax.sharding import data_mesh
from mamkpd_jax.skeleton_files import find_skeleton
from mamkpd_jax.training.finetune_config import data_config, finetune_config, start_name
from mamkpd_jax.training.finetune_report import write_report
from mamkpd_jax.training.last_layer import fit_last_layer

_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "Keypoint annotations in COCO's form.", required=True, allow_override=True
)
_IMAGES = flags.DEFINE_string("images", None, "The folder of their images.", required=True, allow_override=True)
_VAL_ANNOTATIONS = flags.DEFINE_string(
    "val_annotations", None, "Annotations to validate on. Default: those of a fifth of the images of --annotations."
)
_VAL_IMAGES = flags.DEFINE_string(
    "val_images", None, "The folder of the images of --val_annotations. Default: --images."
)
_SKELETON = flags.DEFINE_string(
    "skeleton", "", "A ready skeleton by name or a skeleton file. Default: that of the annotations' categories."
)
# No default: `train`, which is imported later, defines a required flag of this name, and absl warns of two defaults.
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run. Default: runs/finetune.", allow_override=True)
_INIT_FROM = flags.DEFINE_string(
    "init_from",
    "auto",
    "Weights to start from: auto (the nearest shipped model), none (random weights), a model's name, a run directory "
    "or a file.",
)
_STEPS = flags.DEFINE_integer(
    "steps", 0, "Training steps, rounded up to whole epochs. 0: as many as suit the data set.", lower_bound=0
)
_CACHE = compilation_cache.define_flag()

_FIT_BATCHES = 20  # batches of training crops that the last layer is fitted to
_START, _BEFORE = "start.safetensors", "before.json"  # in the run directory


def finetune(data: DataConfig, workdir: Path, init_from: str, steps: int) -> dict[str, float]:
    """Fine-tunes from the start or resumes, and writes the report to `workdir`.

    Args:
        data: the data section of the run's config, as `data_config` returns it.
        init_from: as the flag of this name.
        steps: as the flag of this name.

    Returns:
        The metrics of the validation split; empty if the run was interrupted.

    Raises:
        UserError: the starting weights or the data set are missing or damaged, or `workdir` has another run.
    """
    from mamkpd_jax.commands.train import train  # not at the top, as it defines flags that this command does not have

    start = None if init_from in ("auto", "none") else read_artifact(init_from)
    dataset = open_dataset(Config(data=data, eval=EvalConfig(metrics=("pck_box@0.1",))))
    if init_from == "auto":
        init_from = start_name(dataset.skeleton)
        start = read_artifact(init_from)
    source = "" if start is None else str(workdir.absolute() / _START)
    config = finetune_config(data, dataset, start, source, steps, jax.local_device_count())
    config.validate()
    before = _prepare_start(workdir, config, start, init_from)
    after = train(config, workdir)
    if after:
        _draw_curve(workdir)
        report = write_report(workdir, config, dataset, before, after)
        print(f"before and after training: {report}\n\nnext:")
        print(f"  mamkpd eval --workdir={workdir}")
        print(f"  mamkpd predict --checkpoint={workdir} --input=PICTURES --output={workdir / 'predictions'}")
        print(f"  mamkpd export --checkpoint={workdir} --output={workdir / 'model.stablehlo'}")
    return after


def _prepare_start(workdir: Path, config: Config, start: Artifact | None, init_from: str) -> dict[str, Any]:
    """Writes the starting weights unless they exist, and returns their description and metrics for `write_report`."""
    path = workdir / _BEFORE
    files = (config.data.train_annotations, config.data.val_annotations)
    run = {
        "init_from": init_from,
        "annotations": hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest(),
    }
    if path.exists():
        before = json.loads(path.read_bytes())
        if different := [name for name in run if before[name] != run[name]]:
            raise UserError(f"{workdir} has a run with another --{different[0]}; give another --workdir")
        return before
    dataset = open_dataset(config)
    last_layer, start = _with_last_layer(start, config, dataset)
    metrics = {}
    if start is not None:
        save(start, workdir / _START)
    if start is not None and last_layer != "new":
        options = Options(flip_test=config.eval.flip_test, scan=config.model.scan)
        predict = compiled(make_program(config, dataset.skeleton, options), data_mesh())
        metrics = Evaluator(dataset, config)(partial(predict, start.params, start.batch_stats)).metrics
        logging.info("before training: %s %.1f", *next(iter(metrics.items())))
    before = {**run, "last_layer": last_layer, "metrics": metrics}
    write_json(path, before)
    return before


def _with_last_layer(start: Artifact | None, config: Config, dataset: PoseData) -> tuple[str, Artifact | None]:
    """The state of the last layer, as in `LAST_LAYER`, and the starting weights for the data set's keypoints."""
    if start is None:
        return "random", None
    if start.skeleton.joints == dataset.skeleton.joints:
        return "kept", dataclasses.replace(start, config=config, skeleton=dataset.skeleton)
    if not HEADS[config.head.kind].linear_layer:
        return "new", start
    logging.info("fitting the last layer to %s", ", ".join(dataset.skeleton.joints))
    batches = train_batches(dataset.train, dataset.train_crop, config)
    try:
        return "fitted", fit_last_layer(start, config, dataset.skeleton, batches, _FIT_BATCHES)
    finally:
        batches.close()


def _draw_curve(workdir: Path) -> None:
    """Draws learning_curve.png, if matplotlib is installed."""
    if importlib.util.find_spec("matplotlib"):
        from mamkpd_jax.plots.curves import curves, read_metrics

        curves({workdir.name: read_metrics(workdir)}).savefig(workdir / "learning_curve.png", dpi=100)


def main() -> None:
    compilation_cache.enable(_CACHE.value)
    workdir = Path(_WORKDIR.value or "runs/finetune")
    annotations, images = Path(_ANNOTATIONS.value), Path(_IMAGES.value)
    if _VAL_IMAGES.value and not _VAL_ANNOTATIONS.value:
        raise UserError("--val_images is given without --val_annotations; give the annotations too")
    for flag, folder in (("images", images), ("val_images", Path(_VAL_IMAGES.value or images))):
        if not os.path.isdir(folder):
            raise UserError(f"--{flag}: {folder} is not a folder; give the folder of the annotated images")
    if _VAL_ANNOTATIONS.value:
        train, val = annotations, Path(_VAL_ANNOTATIONS.value)
    else:
        skeleton = find_skeleton(_SKELETON.value, []) if _SKELETON.value else None
        train, val = split_annotations(annotations, workdir / "data", skeleton)
    val_images = Path(_VAL_IMAGES.value or images)
    data = data_config(train, val, images, val_images, _SKELETON.value, workdir / "data" / "built")
    finetune(data, workdir, _INIT_FROM.value, _STEPS.value)
