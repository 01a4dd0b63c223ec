"""What an evaluation leaves in a folder: the report, the results, two pictures; and the table for people."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from mamkpd_jax.data.functional import DamagedImage, decode_image
from mamkpd_jax.data.opening import EvaluationData
from mamkpd_jax.evaluation.analysis import breakdown, worst_instances
from mamkpd_jax.evaluation.evaluator import Evaluation
from mamkpd_jax.files import write_json
from mamkpd_jax.visualize import contact_sheet, draw_beside_truth

FILES = REPORT, RESULTS, PICTURE, WORST = "report.json", "results.json", "predictions.png", "worst.png"
_SHOWN_IMAGES = 16
_TILE_HW = (240, 640)


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
    source, skeleton = dataset.val, dataset.skeleton
    pairs = []
    for i in np.unique(np.linspace(0, source.n_images - 1, _SHOWN_IMAGES).astype(int)):
        content = source.image(int(i))
        try:
            image = decode_image(content["image"])
        except DamagedImage:
            continue
        of_image = [a for a in source.ground_truth["annotations"] if a["image_id"] == content["image_id"]]
        labelled = [a["keypoints"] for a in of_image if a["num_keypoints"]]
        predicted = [r["keypoints"] for r in results if r["image_id"] == content["image_id"]]
        whole = (0, 0, image.shape[1], image.shape[0])
        pairs.append(draw_beside_truth(image, whole, labelled, predicted, skeleton, height_px=_TILE_HW[0]))
    return contact_sheet(pairs, tile_hw=_TILE_HW, columns=2)
