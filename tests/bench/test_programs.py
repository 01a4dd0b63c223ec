"""The benchmarks beside peers, run from the command line at a tiny scale."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

_ROOT = Path(__file__).resolve().parents[2]


def _run(*command: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-m", "mamkpd_jax", "bench", *command],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_training_accuracy_stops_resumes_and_collects(coco_mini_root, build_dir, tmp_path):
    setup = tmp_path / "setup.py"
    setup.write_text(
        "from mamkpd_jax.config import *\n\ndef get_config(name='base'):\n"
        "    model = ModelConfig(stem=False, depths=(1, 1, 1), dims=(8, 8, 8), decoder_dim=8)\n"
        # The number of joints is known from the annotations alone.
        f"    data = DataConfig(dataset='custom_coco', root={str(coco_mini_root)!r}, build_dir={str(build_dir)!r},\n"
        "                      train_annotations='annotations/person_keypoints_train2017.json',\n"
        "                      val_annotations='annotations/person_keypoints_val2017.json',\n"
        "                      train_images='train2017', val_images='val2017', input_hw=(64, 64), workers=0)\n"
        "    return Config(model=model, data=data, optim=OptimConfig(batch_size=4, decay_epochs=(), warmup_steps=2),\n"
        "                  eval=EvalConfig(batch_size=4), log_every_steps=1)\n",
        encoding="utf-8",
    )
    output = tmp_path / "result.json"
    command = [
        *("training_accuracy", f"--config={setup}", "--config.optim.epochs=2", "--at_once=2"),
        *("--contenders=base,simple_baseline:0.125", f"--workdir={tmp_path / 'runs'}", f"--output={output}"),
    ]
    stopped = _run(*command, "--minutes=0.05")
    assert stopped.returncode == 0, stopped.stderr
    assert "0 of 2 runs are done" in stopped.stdout
    done = _run(*command)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs are done" in done.stdout
    result = json.loads(output.read_bytes())
    assert [row["contender"] for row in result["rows"]] == ["base", "simple_baseline:0.125"]
    for run in result["runs"]:
        assert run["metric"] == "coco/AP"
        assert [step for step, _ in run["curves"]["train/loss"]] == [1, 2, 3, 4, 5, 6]
        assert run["curves"]["eval/coco/AP"] == [[6, run["value"]]]
        assert run["config"]["optim"]["epochs"] == 2
        assert run["environment"]["n_devices"] == 1

    # Without the run directories the file shows which runs are done; a run of another setting is refused.
    others = [*command[:-2], f"--workdir={tmp_path / 'elsewhere'}", command[-1]]
    again = _run(*others)
    assert "2 of 2 runs are done" in again.stdout and not (tmp_path / "elsewhere").exists()
    assert json.loads(output.read_bytes())["runs"] == result["runs"]
    for field, change in (("optim.learning_rate=0.1", "0.001 -> 0.1"), ("model.decoder_dim=16", "8 -> 16")):
        refused = _run(*others, f"--config.{field}")
        assert refused.returncode == 1
        expected = f"base with seed 0 was trained with other settings ({field.partition('=')[0]}: {change})"
        assert expected in refused.stderr

    # A failed run does not keep the others out of the file.
    output.unlink()
    (tmp_path / "runs" / "simple_baseline_x0.25_0").touch()
    failed = _run(*command[:-3], "--contenders=simple_baseline:0.25,base", *command[-2:])
    assert failed.returncode == 1, failed.stderr
    assert [run["contender"] for run in json.loads(output.read_bytes())["runs"]] == ["base"]


def test_speed_times_a_peer(tmp_path):
    output = tmp_path / "speed.json"
    flags = ("--variants=", "--peers=simple_baseline", "--batches=1,2", "--dtype=float32", "--repeats=2")
    done = _run("speed", *flags, f"--output={output}")
    assert done.returncode == 0, done.stderr
    rows = json.loads(output.read_bytes())["rows"]
    assert [(row["contender"], row["batch"]) for row in rows] == [("simple_baseline, torch, eager", n) for n in (1, 2)]
    assert all(row["crops_per_s"] > 0 and row["parameters"] == 33_999_697 for row in rows)

    # Rows that the file has are not timed again.
    more = _run("speed", *flags[:2], "--batches=2,3", *flags[3:], f"--output={output}")
    assert more.returncode == 0, more.stderr
    added = json.loads(output.read_bytes())["rows"]
    assert added[:2] == rows and [row["batch"] for row in added] == [1, 2, 3]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["speed", "--peers=resnet"], "error: there is no peer 'resnet'; expected one of simple_baseline"),
        (
            ["training_accuracy", "--config=configs/lspet.py", "--contenders=big", "--workdir=w", "--output=o"],
            "error: --contenders names 'big'; expected some of small, base",
        ),
        (
            ["training_accuracy", "--config=configs/lspet.py", "--contenders=simple_baseline:0", "--workdir=w"]
            + ["--output=o"],
            "error: 'simple_baseline:0': expected a width of at least 1/64, such as simple_baseline:0.25",
        ),
        (
            ["training_accuracy", "--config=configs/lspet.py", "--workdir=w", "--output=README.md"],
            "error: --output: README.md has no results of this benchmark",
        ),
    ],
)
def test_wrong_flags_are_named(command, message):
    done = _run(*command)
    assert done.returncode == 1
    assert message in done.stderr
