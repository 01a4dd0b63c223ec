"""Training and evaluating Base at full size with the README's commands, on real samples of each data set."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_FEW = "few.json"  # of the large sets
_SETS = {
    "coco": ("configs/coco_base.py", "coco_mini_root", "coco/AP"),
    "mpii": ("configs/mpii.py", "mpii_root", "mpii/Mean"),
    "ap10k": ("configs/ap10k.py", "ap10k_root", "ap10k/AP"),
    "lspet": ("configs/lspet.py", "lspet", "pck_torso@0.2/mean"),
    "animalpose": ("configs/animalpose.py", "animalpose", "pck_box@0.1/mean"),
    "synthetic_people": ("configs/coco_base.py", None, "coco/AP"),
}


def _run(program: str, *flags: str) -> str:
    command = [sys.executable, program, *flags]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _few(annotations: Path) -> str:
    """The first 16 images of a file, written beside it."""
    data = json.loads(annotations.read_bytes())
    data["images"] = data["images"][:16]
    ids = {image["id"] for image in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in ids]
    (annotations.parent / _FEW).write_text(json.dumps(data), encoding="utf-8")
    return _FEW


@pytest.mark.long  # a minute each
@pytest.mark.parametrize("name", _SETS)
def test_base_trains_and_evaluates_on_each_set(name, request, build_dir, tmp_path):
    config, root, value = _SETS[name]
    optim = {"batch_size": "2", "epochs": "1", "decay_epochs": "()", "warmup_steps": "2"}
    fields = {f"optim.{field}": value for field, value in optim.items()}
    fields |= {"eval.batch_size": "2", "data.workers": "0", "data.build_dir": str(build_dir), "log_every_steps": "1"}
    if root is None:
        fields |= {f"data.synthetic_{part}_images": "8" for part in ("train", "val")}
        fields["data.dataset"] = name
    else:
        fields["data.root"] = str(request.getfixturevalue(root))
    if name in ("lspet", "animalpose"):
        few = _few(Path(fields["data.root"]) / f"{name}_val.json")
        fields |= {"data.train_annotations": few, "data.val_annotations": few}
    flags = [f"--config={config}", *(f"--config.{field}={value}" for field, value in fields.items())]
    trained = _run("train.py", *flags, f"--workdir={tmp_path}")
    losses = [
        json.loads(line).get("train/loss")
        for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    evaluated = _run("eval.py", *flags, f"--workdir={tmp_path}")
    report = json.loads((tmp_path / "eval" / "report.json").read_bytes())
    print(f"{name}: losses {losses}, {value} {report[value]:.3f}")
    assert report["step"] == len([loss for loss in losses if loss is not None]) > 0
    assert report["config"]["model"]["depths"] == [2, 4, 6] and report["poses"] > 0
    assert trained.splitlines()[:-1] == evaluated.splitlines()[:-1] != [], "the same metrics"
