"""Reports: a table for people, JSON for programs."""

import json
import os
from pathlib import Path
from typing import Any

from mamkpd_jax.evaluation.coco import METRICS
from mamkpd_jax.skeletons import Skeleton


def format_table(metrics: dict[str, float], skeleton: Skeleton) -> str:
    """COCO's figures in a line, and the OKS of each joint, left and right beside each other."""
    shown = ("AP", "AP50", "AP75", "APM", "APL", "AR")
    lines = ["  ".join(f"{name:>5}" for name in shown)]
    lines.append("  ".join(f"{metrics[f'coco/{name}']:5.3f}" for name in shown))
    lines.append("OKS by joint:")
    cells = [f"{joint:16}{metrics[f'coco/oks/{joint}']:6.3f}" for joint in skeleton.joints]
    lines += ["    ".join(cells[i : i + 2]) for i in range(0, len(cells), 2)]
    return "\n".join(lines)


def report(metrics: dict[str, float], **about: Any) -> dict[str, Any]:
    """What report.json holds: the figures in COCO's order, OKS by joint, then what they are of."""
    first = [f"coco/{name}" for name in METRICS]
    return {name: metrics[name] for name in [*first, *(n for n in metrics if n not in first)]} | about


def write_json(path: Path, data: Any) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.partial")
    temporary.write_text(json.dumps(data, indent=1))
    os.replace(temporary, path)
