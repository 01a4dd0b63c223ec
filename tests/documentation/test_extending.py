"""The modules of docs/extending.md work in the places that the page names, each as one new file of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.documentation.blocks import ROOT, blocks_of

_PACKAGE = "mamkpd_jax"
_TINY = (
    *("--config.model.depths=(1,)", "--config.model.dims=(8,)", "--config.model.stem=False"),
    *("--config.model.decoder_dim=8", "--config.data.input_hw=(64, 48)", "--config.data.workers=0"),
    *("--config.optim.batch_size=2", "--config.optim.epochs=1", "--config.optim.decay_epochs=()"),
    *("--config.optim.warmup_steps=1", "--config.eval.batch_size=2"),
)


def _module(entry: str) -> str:
    """The page's module that defines a name."""
    (text,) = [
        block.text
        for block in blocks_of("docs/extending.md")
        if block.language == "python" and re.search(rf"^(?:def )?{entry}\b", block.text, re.MULTILINE)
    ]
    return text


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of the package with the page's modules in it."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / _PACKAGE, folder / _PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    places = {
        "DATASET": "data/datasets/my_form.py",
        "IMPLEMENTATION": "ops/selective_scan/implementations/my_scan.py",
        "metric": "evaluation/metrics/distance.py",
        "FORMAT": "export/formats/mlir.py",
    }
    for entry, place in places.items():
        (folder / _PACKAGE / place).write_text(_module(entry), encoding="utf-8")
    (folder / "my_birds.py").write_text(_module("get_config"), encoding="utf-8")
    return folder


def _run(clone: Path, *arguments: str) -> str:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(clone)}
    command = [sys.executable, "-m", _PACKAGE, *arguments]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _write_forms(root: Path, shared_data: Path) -> None:
    """Two real photos a split, each with a box and 17 points."""
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        for name in ("000000000785", "000000040083"):
            shutil.copyfile(shared_data / "coco_mini" / f"{name}.jpg", root / split / f"{name}.jpg")
            height, width = cv2.imread(str(root / split / f"{name}.jpg")).shape[:2]
            lines = [f"0 0 {width} {height}", *(f"{10 + 5 * i} {20 + 4 * i} {1 + i % 2}" for i in range(17))]
            (root / split / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.slow
def test_new_modules_train_evaluate_and_export(clone, shared_data):
    _write_forms(clone / "forms", shared_data)
    chosen = ("--config.data.dataset=my_form", "--config.data.root=forms", "--config.model.scan=my_scan")
    metrics = "--config.eval.metrics=('distance',)"
    out = _run(clone, "train", "--config=coco_base", *_TINY, *chosen, metrics, "--workdir=runs/forms")
    assert "minus_mean_px" in out
    _run(clone, "export", "--checkpoint=runs/forms", "--output=model.mlir")
    assert "func.func public @main" in (clone / "model.mlir").read_text(encoding="utf-8")


@pytest.mark.slow
def test_own_config_trains(clone, lspet):
    root = clone / "data" / "birds"
    root.parent.mkdir(exist_ok=True)
    root.symlink_to(lspet, target_is_directory=True)
    files = [f"--config.data.{split}_annotations=lspet_val.json" for split in ("train", "val")]
    out = _run(clone, "train", "--config=my_birds.py", *_TINY, *files, "--workdir=runs/birds")
    assert "pck_box@0.1" in out
