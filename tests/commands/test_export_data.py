"""The command `mamkpd export-data`."""

import json
import subprocess
import sys
from pathlib import Path

from tests.data.imports.labelled import write_image

_ROOT = Path(__file__).parents[2]


def test_export_writes_data_and_reports_missing_validation(tmp_path):
    write_image(tmp_path / "a.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 9, "bbox": [1, 1, 9, 9]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 200, "height": 100}],
        "annotations": [annotation | {"num_keypoints": 1, "keypoints": [50, 50, 2]}],
        "categories": [{"id": 1, "name": "bird", "keypoints": ["beak"]}],
    }
    (tmp_path / "all.json").write_text(json.dumps(content), encoding="utf-8")
    flags = [f"--annotations={tmp_path / 'all.json'}", f"--images={tmp_path}", f"--output={tmp_path / 'yolo'}"]
    command = [sys.executable, "-m", "mamkpd_jax", "export-data", "--to=yolo", *flags]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "      1 images of train\n      1 instances\n" in done.stdout and "give --val_annotations" in done.stdout
    assert done.stdout.endswith(f"{tmp_path / 'yolo' / 'data.yaml'} describes the data set\n")
    assert (tmp_path / "yolo/labels/train/a.txt").read_text(encoding="utf-8").endswith(" 0.250000000 0.500000000 2\n")
