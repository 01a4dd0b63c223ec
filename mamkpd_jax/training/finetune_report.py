"""The readable report of a fine-tuning run: data, schedule, and scores before and after."""

import json
from pathlib import Path
from typing import Any

from mamkpd_jax.config import Config
from mamkpd_jax.data.opening import PoseData
from mamkpd_jax.evaluation.report import PICTURE, WORST
from mamkpd_jax.files import atomic_write
from mamkpd_jax.skeleton_files import describe_flips
from mamkpd_jax.training.logs import METRICS
from mamkpd_jax.training.schedule import Schedule

REPORT = "report.md"
_PICTURES = {PICTURE: "Labelled poses on the left, predicted ones on the right", WORST: "The lowest scores first"}
# How the starting weights relate to the data set's keypoints, by the state of the last layer.
LAST_LAYER = {
    "kept": "They have the same keypoints, so the column 'before' has their scores.",
    "fitted": "They have other keypoints. The column 'before' has the scores after fitting the last layer to yours.",
    "new": "They have other keypoints, so the last layer starts from random values: no scores before training.",
    "random": "They are random: no scores before training.",
}


def write_report(
    workdir: Path, config: Config, dataset: PoseData, before: dict[str, Any], after: dict[str, float]
) -> Path:
    """Writes `workdir`/report.md and returns its path.

    Args:
        before: of the starting weights: `init_from`, `last_layer` (a key of `LAST_LAYER`), and `metrics`.
        after: the metrics after training.
    """
    steps = Schedule.of(config, len(dataset.train)).last_step
    optim = config.optim
    lines = [
        f"# Fine-tuning: {workdir.name}",
        "",
        f"Starting weights: {before['init_from']}. {LAST_LAYER[before['last_layer']]}",
        "",
        f"- training: {dataset.train.n_images} images, {len(dataset.train)} instances",
        f"- validation: {dataset.val.n_images} images, {len(dataset.val)} instances",
        f"- keypoints: {', '.join(dataset.skeleton.joints)}",
        f"- {describe_flips(dataset.skeleton)}",
        f"- schedule: {steps} steps ({optim.epochs} epochs) of {optim.batch_size} crops of {_size(config)} pixels, "
        f"learning rate {optim.learning_rate:g}, augmentation {config.data.augmentation}",
        f"- time: {_minutes(workdir):.1f} minutes of training",
        "",
        "Scores on the validation split; PCK in percent. -1 means that no such keypoint is labelled.",
        "",
        "| | before | after |",
        "|---|---|---|",
        *(f"| {name} | {_score(before['metrics'], name)} | {_score(after, name)} |" for name in after if _shown(name)),
        "",
    ]
    for name in (path.name for path in sorted(workdir.glob("*.png"))):
        lines += [f"![{name}]({name})", "", f"*{_PICTURES.get(name, 'Training curves')}.*", ""]
    with atomic_write(workdir / REPORT) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return workdir / REPORT


def _size(config: Config) -> str:
    height, width = config.data.input_hw
    return f"{width}x{height}"


def _minutes(workdir: Path) -> float:
    last = (workdir / METRICS).read_text(encoding="utf-8").splitlines()[-1]
    return json.loads(last)["time_s"] / 60


def _shown(name: str) -> bool:
    """Whether a score is in the report: all of PCK, but only AP of COCO's values."""
    return (name.startswith("pck") and not name.endswith("left_out")) or name == "coco/AP"


def _score(metrics: dict[str, float], name: str) -> str:
    return f"{metrics[name]:.3g}" if name in metrics else "-"
