"""Writes the files of an evaluation: report, results and two images; and formats the metrics as a table.

The report shows where a model fails: it has scores by the instances' size and by their number of labelled joints.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from mamkpd_jax.data.functional import DamagedImage, decode_image
from mamkpd_jax.data.opening import EvaluationData
from mamkpd_jax.evaluation.coco_results import with_suppressed
from mamkpd_jax.evaluation.evaluator import Evaluation
from mamkpd_jax.files import write_json
from mamkpd_jax.skeletons import JOINT_THRESHOLD
from mamkpd_jax.visualize import contact_sheet, draw_beside_truth

FILES = REPORT, RESULTS, PICTURE, WORST = "report.json", "results.json", "predictions.png", "worst.png"
_SIDES_PX = (32, 96)  # COCO's limits between small, medium and large: square roots of the area
_SIZE_METRICS = ("APM", "APL", "ARM", "ARL")  # COCO's metrics for medium and large instances
_JOINT_LIMITS = (5, 10, 15)
_N_PAIRS = 16
_TILE_HW = (240, 640)
_MARGIN = 0.25  # around a box, relative to its sides


def save(folder: Path, evaluation: Evaluation, dataset: EvaluationData, **about: Any) -> None:
    """Writes the four FILES to the folder, the report last. `about` are fields of the report that describe the run."""
    write_json(folder / RESULTS, evaluation.results)
    for name, sheet in ((PICTURE, picture(evaluation.results, dataset)), (WORST, worst_instances(evaluation, dataset))):
        cv2.imwrite(str(folder / name), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    values = {**evaluation.metrics, **breakdown(evaluation)}
    write_json(folder / REPORT, {**about, "poses": len(evaluation.results), **values})


def format_table(metrics: dict[str, float]) -> str:
    """The metrics as a text table, grouped by the common part of their names, such as 'coco' or 'coco/oks'.

    A value of -1 (no ground truth to score) is shown as '-', with the reason below the group.
    """
    groups: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        group, _, label = name.rpartition("/")
        groups.setdefault(group, {})[label] = value
    lines = []
    for group, values in groups.items():
        missing = [label for label, value in values.items() if value == -1]
        cells = [f"{label:17} {'-' if label in missing else f'{value:.3f}':>7}" for label, value in values.items()]
        lines += [group, *("    ".join(cells[i : i + 4]) for i in range(0, len(cells), 4)), *_reasons(missing)]
    return "\n".join(lines)


def _reasons(missing: Sequence[str]) -> list[str]:
    """Lines with the reasons for missing values."""
    low, high = _SIDES_PX
    sizes = f"no ground truth of this size (medium: {low} to {high} px, large: above; square root of the area)"
    reasons = {
        sizes: [label for label in missing if label in _SIZE_METRICS],
        "no labelled ground truth": [label for label in missing if label not in _SIZE_METRICS],
    }
    return [f"{', '.join(labels)}: {reason}" for reason, labels in reasons.items() if labels]


def picture(results: list[dict[str, Any]], dataset: EvaluationData) -> UInt8[np.ndarray, "h w 3"]:
    """Evenly spaced images of the split, as pairs: labelled poses at the left, predicted poses at the right."""
    truth = dataset.val.ground_truth
    shown = []
    for record in np.unique(np.linspace(0, len(truth["images"]) - 1, _N_PAIRS).astype(int)).tolist():
        image = truth["images"][record]
        labelled = [a for a in truth["annotations"] if a["image_id"] == image["id"] and a["num_keypoints"]]
        shown.append((record, (0, 0, image["width"], image["height"]), [a["keypoints"] for a in labelled]))
    return _beside_truth(shown, results, dataset)


def breakdown(evaluation: Evaluation) -> dict[str, dict[str, dict[str, int | float]]]:
    """The counts and mean scores of instances, by size and by number of labelled joints.

    The scores, from 0 to 1, are those of the first metric: the OKS of the match, or the fraction of correct joints.
    """

    def size(annotation: dict[str, Any]) -> str:
        side = annotation["area"] ** 0.5
        return "small" if side < _SIDES_PX[0] else "medium" if side < _SIDES_PX[1] else "large"

    def joints(annotation: dict[str, Any]) -> str:
        n = sum(v > 0 for v in annotation["keypoints"][2::3])
        return next((f"up to {limit}" for limit in _JOINT_LIMITS if n <= limit), f"above {_JOINT_LIMITS[-1]}")

    return {"by_size": _group(evaluation, size), "by_labelled_joints": _group(evaluation, joints)}


def _group(evaluation: Evaluation, name: Callable[[dict[str, Any]], str]) -> dict[str, dict[str, int | float]]:
    groups: dict[str, list[float]] = {}
    for annotation in evaluation.ground_truth["annotations"]:
        if annotation["id"] in evaluation.instances:
            groups.setdefault(name(annotation), []).append(evaluation.instances[annotation["id"]])
    return {group: {"instances": len(s), "mean_score": float(np.mean(s))} for group, s in sorted(groups.items())}


def worst_instances(evaluation: Evaluation, dataset: EvaluationData) -> UInt8[np.ndarray, "h w 3"]:
    """The instances with the lowest scores, worst first, as pairs: labelled at the left, predicted at the right.

    The right side shows every pose that was predicted in the image, with all joints whatever their scores. It shows
    only the surroundings of the instance.
    """
    truth = evaluation.ground_truth
    record_of = {image["id"]: record for record, image in enumerate(truth["images"])}
    annotations = [a for a in truth["annotations"] if a["id"] in evaluation.instances]
    annotations.sort(key=lambda annotation: evaluation.instances[annotation["id"]])
    shown = []
    for annotation in annotations[:_N_PAIRS]:
        x, y, w, h = annotation["bbox"]
        ends = x - _MARGIN * w, y - _MARGIN * h, x + (1 + _MARGIN) * w + 1, y + (1 + _MARGIN) * h + 1
        region = int(ends[0]), int(ends[1]), int(ends[2]), int(ends[3])
        shown.append((record_of[annotation["image_id"]], region, [annotation["keypoints"]]))
    return _beside_truth(shown, with_suppressed(evaluation.results), dataset, threshold=-np.inf)


def _beside_truth(
    shown: Iterable[tuple[int, tuple[int, int, int, int], list[list[int | float]]]],
    results: Sequence[dict[str, Any]],
    dataset: EvaluationData,
    *,
    threshold: float = JOINT_THRESHOLD,
) -> UInt8[np.ndarray, "h w 3"]:
    """Image regions as pairs: labelled poses at the left, all poses predicted in the image at the right.

    Images that can't be decoded, and regions outside their image, are left out.

    Args:
        shown: for each region: the record of its image in the split; left, top, right, bottom in pixels; and the
            labelled poses, 3 numbers for each joint.
        threshold: predicted joints are drawn only if their score is above it.
    """
    pairs = []
    for record, region, labelled in shown:
        content = dataset.val.image(record)
        try:
            image = decode_image(content["image"], upright=content["upright"])
        except DamagedImage:
            continue
        if min(region[2:]) <= 0 or region[0] >= image.shape[1] or region[1] >= image.shape[0]:
            continue
        poses = labelled, [r["keypoints"] for r in results if r["image_id"] == content["image_id"]]
        pair = draw_beside_truth(image, region, *poses, dataset.skeleton, height_px=_TILE_HW[0], threshold=threshold)
        pairs.append(pair)
    return contact_sheet(pairs, tile_hw=_TILE_HW, columns=2)
