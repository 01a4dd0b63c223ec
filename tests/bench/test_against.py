"""The benchmark of two checkouts, here of this checkout beside itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_AGAINST = (sys.executable, "-m", "mamkpd_jax", "bench", "against")


@pytest.mark.slow
def test_checkout_beside_itself(tmp_path):
    output = tmp_path / "result.json"
    command = [*_AGAINST, f"--other={_ROOT}", f"--output={output}", "--repeats=4"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run([*command, "--cases=quickstart-step"], cwd=_ROOT, env=environment, check=True, timeout=500)
    (row,) = json.loads(output.read_text(encoding="utf-8"))["rows"]
    low, high = row["quartiles"]
    assert row["case"] == "quickstart-step"
    assert low <= row["ratio"] <= high
    assert row["this"]["median_ms"] > 0 < row["other"]["median_ms"]
    wrong = subprocess.run([*command, "--cases=nothing"], cwd=_ROOT, env=environment, capture_output=True, text=True)
    assert wrong.returncode != 0
    assert "names 'nothing'; expected some of base-1" in wrong.stderr


@pytest.mark.slow
def test_worker_leaves_a_part_out():
    command = [sys.executable, "mamkpd_jax/bench/against_worker.py", str(_ROOT), "small-1"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    for part in ([], ["scan"]):
        answer = subprocess.run(
            [*command, *part], cwd=_ROOT, env=environment, input="\n", capture_output=True, text=True, check=True
        )
        assert float(answer.stdout) > 0


def test_folder_without_a_checkout_is_refused(tmp_path):
    command = [*_AGAINST, f"--other={tmp_path}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    wrong = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    assert wrong.returncode != 0
    assert "which is not a checkout of this project" in wrong.stderr
    assert "Traceback" not in wrong.stderr
