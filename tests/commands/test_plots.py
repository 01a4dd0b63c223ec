"""The command `mamkpd plots`."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.artifact.conftest import random_weights
from tests.inference.conftest import config, workdir

__all__ = ["config", "random_weights", "workdir"]

pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")


def _run(*arguments):
    command = [sys.executable, "-m", "mamkpd_jax", "plots", *map(str, arguments)]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)


def test_features_of_a_box_of_a_picture(workdir, shared_data, tmp_path):
    picture = shared_data / "coco_mini" / "000000000785.jpg"
    done = _run(
        "features", f"--checkpoint={workdir}", f"--image={picture}", "--box=280,44,218,346", f"--output={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "features.png"), str(tmp_path / "features.pdf")]
    height, width = cv2.imread(str(tmp_path / "features.png")).shape[:2]
    assert width > 2 * height, "a crop and two stages side by side, even if the folder's name is long"


def test_curves_are_drawn_from_a_log(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "train/loss": 0.1}), encoding="utf-8")
    done = _run("curves", f"--workdir={tmp_path}", f"--output={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["curves.pdf", "curves.png"]


def test_help_lists_plots_and_mistakes_print_one_line(tmp_path):
    text = _run("--help").stdout
    assert all(f"mamkpd plots {name} " in text for name in ("features", "poses", "sheet", "curves", "tradeoff"))
    for arguments, line in (
        (["pose"], "error: there is no plot 'pose'; did you mean 'poses'?"),
        (["curves", f"--output={tmp_path}"], "error: --workdir is missing (see --help)"),
        (["curves"], "error: --output is missing (see --help)"),
    ):
        done = _run(*arguments)
        assert done.returncode == 1 and done.stderr.startswith(line)
