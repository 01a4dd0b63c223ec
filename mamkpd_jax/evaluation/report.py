"""What an evaluation leaves in a folder: the report, the results, two pictures; and the table for people."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from mamkpd_jax.data.opening import EvaluationData
from mamkpd_jax.evaluation.analysis import SHOWN, beside_truth, breakdown, worst_instances
from mamkpd_jax.evaluation.evaluator import Evaluation
from mamkpd_jax.files import write_json

FILES = REPORT, RESULTS, PICTURE, WORST = "report.json", "results.json", "predictions.png", "worst.png"


def save(folder: Path, evaluation: Evaluation, dataset: EvaluationData, **about: Any) -> None:
    """Writes the four files; `about` says in the report what was evaluated. The report comes last."""
    write_json(folder / RESULTS, evaluation.results)
    for name, sheet in ((PICTURE, picture(evaluation.results, dataset)), (WORST, worst_instances(evaluation, dataset))):
        cv2.imwrite(str(folder / name), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    values = {**evaluation.metrics, **breakdown(evaluation)}
    write_json(folder / REPORT, {**about, "poses": len(evaluation.results), **values})


def format_table(metrics: dict[str, float]) -> str:
    """The values in rows below the name that they share, 'coco' or 'coco/oks'. -1: there is none to score."""
    groups: dict[str, list[str]] = {}
    for name, value in metrics.items():
        group, _, label = name.rpartition("/")
        groups.setdefault(group, []).append(f"{label:17} {value:7.3f}")
    lines = []
    for group, cells in groups.items():
        lines += [group, *("    ".join(cells[i : i + 4]) for i in range(0, len(cells), 4))]
    return "\n".join(lines)


def picture(results: list[dict[str, Any]], dataset: EvaluationData) -> UInt8[np.ndarray, "h w 3"]:
    """Images of the split, evenly chosen: the labelled poses at the left of each pair, the predicted at the right."""
    truth = dataset.val.ground_truth
    shown = []
    for record in np.unique(np.linspace(0, len(truth["images"]) - 1, SHOWN).astype(int)).tolist():
        image = truth["images"][record]
        labelled = [a for a in truth["annotations"] if a["image_id"] == image["id"] and a["num_keypoints"]]
        shown.append((record, (0, 0, image["width"], image["height"]), [a["keypoints"] for a in labelled]))
    return beside_truth(shown, results, dataset)
