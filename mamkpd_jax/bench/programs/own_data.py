"""Times the commands of a new user: import labels, check, fine-tune, evaluate, predict and export.

mamkpd bench own-data --coco=data/coco --work=runs/own_data --output=benchmarks/results/own_data.json

The labels are nine of COCO's keypoints under other names, in YOLO's format, on 60 pictures of train2017 for training
and 40 of val2017 for validation. Each command is timed as a whole program. docs/your-data.md shows their output.
"""

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from absl import flags

from mamkpd_jax.bench import measure
from mamkpd_jax.data.annotation_files import read_json
from mamkpd_jax.data.yolo_export import export_yolo
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.report import REPORT
from mamkpd_jax.files import write_json
from mamkpd_jax.skeletons import COCO

_COCO = flags.DEFINE_string("coco", "data/coco", "Folder with annotations/ and the images.", allow_override=True)
_WORK = flags.DEFINE_string("work", "runs/own_data", "New folder for the data set and all output.", allow_override=True)
_PICTURES = {"train": 60, "val": 40}
# The user's keypoint names by COCO's. Edges of COCO's skeleton that join two of these are drawn.
_NAMES = {
    **{"nose": "Nase", "left_shoulder": "SchulterL", "right_shoulder": "SchulterR", "left_wrist": "HandL"},
    **{"right_wrist": "HandR", "left_hip": "HuefteL", "right_hip": "HuefteR", "left_ankle": "FussL"},
    **{"right_ankle": "FussR"},
}


def make_set(coco: Path, folder: Path) -> None:
    """Writes the data set in YOLO's format to a new folder, and in COCO's format beside it.

    Raises:
        UserError: the files of COCO are missing or have fewer pictures with these keypoints.
    """
    files = {}
    for split, n in _PICTURES.items():
        content = read_json(coco / "annotations" / f"person_keypoints_{split}2017.json")
        people = [person for person in map(_reduced, content["annotations"]) if person["num_keypoints"]]
        images = {image["id"]: image for image in content["images"]}
        with_people = sorted({person["image_id"] for person in people})
        if len(with_people) < n:
            raise UserError(f"{coco} has {len(with_people)} pictures of {split}2017 with these keypoints; expected {n}")
        chosen = set(random.Random(0).sample(with_people, n))
        files[split] = folder.with_name(f"{folder.name}_{split}.json")
        part = {
            "images": [images[i] | {"file_name": f"{split}2017/{images[i]['file_name']}"} for i in sorted(chosen)],
            "annotations": [person for person in people if person["image_id"] in chosen],
            "categories": [{"id": 1, "name": "person", "keypoints": list(_NAMES.values())}],
        }
        write_json(files[split], part)
    export_yolo(files, coco, folder)


def _reduced(person: dict[str, Any]) -> dict[str, Any]:
    """An annotation reduced to the nine keypoints."""
    values = person["keypoints"]
    kept = [value for name in _NAMES for value in values[3 * COCO.index(name) : 3 * COCO.index(name) + 3]]
    fields = {name: person[name] for name in ("id", "image_id", "category_id", "iscrowd", "bbox", "area")}
    return fields | {"keypoints": kept, "num_keypoints": sum(v > 0 for v in kept[2::3])}


def commands(work: Path) -> dict[str, list[str]]:
    """The commands of a new user by name, with their flags for the data set in `work`."""
    labels, pictures, run = work / "labels", work / "yolo" / "images", work / "run"
    images = f"--images={pictures}"
    files = [f"--annotations={labels / 'train.json'}", f"--val_annotations={labels / 'val.json'}", images]
    cache = f"--compilation_cache={work / 'cache'}"
    return {
        "import-data": ["--from=yolo", f"--input={work / 'yolo'}", f"--output={labels}"],
        "check-data": [files[0], images, f"--output={work / 'check'}"],
        "finetune": [*files, f"--workdir={run}", cache],
        "eval": [f"--workdir={run}", cache],
        "predict": [
            f"--checkpoint={run}",
            f"--input={work / 'yolo' / 'images' / 'val'}",
            f"--output={work / 'poses'}",
            cache,
        ],
        "export": [f"--checkpoint={run}", f"--output={work / 'model.stablehlo'}"],
    }


def main() -> None:
    work = Path(_WORK.value)
    make_set(Path(_COCO.value), work / "yolo")
    rows, lines = [], measure.Lines("command", "seconds")
    for name, arguments in commands(work).items():
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "mamkpd_jax", name, *arguments], text=True, stdout=subprocess.PIPE)
        if done.returncode:
            raise UserError(f"mamkpd {name} ended with exit status {done.returncode}; its error is above")
        print(f"$ mamkpd {name} {' '.join(arguments)}\n{done.stdout}")
        rows.append({"command": name, "seconds": time.perf_counter() - start})
    for row in rows:
        lines.print(row)
    scores = read_json(work / "run" / REPORT)
    name = "pck_box@0.1/mean"
    print(f"total {sum(row['seconds'] for row in rows):.0f} s; {name} {scores[name]:.1f}")
    measure.write(rows, score={name: scores[name]}, pictures=_PICTURES)
