"""The command `mamkpd eval` on checkpoints without --config, and on results files from other programs."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.checkpoints import write_checkpoint
from mamkpd_jax.artifact.weight_files import save
from mamkpd_jax.data.annotation_files import read_mpii_truth
from tests.artifact.conftest import random_weights

__all__ = ["random_weights"]

_LISTS = {"depths": [1], "dims": [8], "remat_stages": []}  # JSON has lists for tuples
_MPII = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean", "Mean_weighted")


def _eval(*flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mamkpd_jax", "eval", *flags]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)


@pytest.fixture
def weights(tiny, random_weights) -> Artifact:
    """Weights of a run with associative scans, whose data folder does not exist here."""
    tiny.model.scan = "associative"
    tiny.data.root = "/nowhere"
    return random_weights(tiny)


@pytest.mark.parametrize("model", ["--workdir={folder}/run", "--checkpoint={folder}/model.safetensors"])
def test_checkpoint_alone_is_evaluated_by_its_config(model, weights, coco_mini_root, tmp_path):
    """Flags override its fields, before and after the other flags."""
    write_checkpoint(weights, tmp_path / "run")
    save(weights, tmp_path / "model.safetensors")
    named = (model.format(folder=tmp_path), f"--output={tmp_path / 'out'}")
    done = _eval("--config.data.root", str(coco_mini_root), *named, "--noconfig.eval.flip_test")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    config = report["config"]
    assert report["step"] == 7 and report["poses"] == 12
    assert (config["data"]["root"], config["eval"]["flip_test"]) == (str(coco_mini_root), False)
    assert config["data"]["input_hw"] == [64, 48] and config["eval"]["batch_size"] == 4, "fields of the checkpoint"
    assert config["model"] == {**dataclasses.asdict(weights.config.model), "scan": "auto"} | _LISTS


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--workdir={folder}/run"], "/nowhere does not exist"),
        (["--workdir={folder}/run", "--config.head.codec=udp"], "config.head.codec: 'plain' -> 'udp'; give the config"),
        (
            ["--workdir={folder}/run", "--config.optim.epoch=1"],
            "there is no such config field; did you mean --config.o",
        ),
        (["--workdir={folder}/run", "--best=x"], "--best=x: "),
        (["--workdir={folder}"], "no checkpoints in {folder}; give the folder of a training run"),
        (["--checkpoint=persons", "--output={folder}/out"], "persons is no model, folder or file; expected animals, "),
        (["--checkpoint=people"], "give either --workdir, or --checkpoint and --output, to evaluate a model, or"),
        (["--predictions=a", "--annotations=b"], "give a config's name or file, such as --config=quickstart"),
    ],
)
def test_mistakes_without_a_config_print_one_line(flags, line, weights, tmp_path):
    write_checkpoint(weights, tmp_path / "run")
    done = _eval(*(flag.format(folder=tmp_path) for flag in flags))
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith("error: ") and line.format(folder=tmp_path) in last, done.stderr
    assert "Traceback" not in done.stderr and sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.fixture
def coco_flags(shared_data, tmp_path) -> list[str]:
    """Flags for a results file that predicts each labelled person of real images exactly."""
    annotations = shared_data / "coco" / "annotations" / "person_keypoints_val2017.json"
    persons = [a for a in json.loads(annotations.read_bytes())["annotations"] if a["num_keypoints"]]
    fields = ("image_id", "category_id", "keypoints")
    results = [{f: person[f] for f in fields} | {"score": 1.0} for person in persons]
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    config = "--config=coco_base"
    return [config, f"--predictions={tmp_path / 'results.json'}", f"--annotations={annotations}"]


def test_a_results_file_of_coco(coco_flags, tmp_path):
    done = _eval(*coco_flags, f"--report={tmp_path / 'out.json'}")
    assert done.returncode == 0, done.stderr
    assert "AP                  1.000" in done.stdout and "the report is" in done.stdout
    report = json.loads((tmp_path / "out.json").read_bytes())
    names = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
    assert [report[f"coco/{name}"] for name in names] == pytest.approx([1.0] * 10)


@pytest.mark.parametrize("suffix", ["mat", "npz"])
def test_a_results_file_of_mpii(suffix, shared_data, tmp_path):
    annotations = shared_data / "mpii" / "gt_valid.mat"
    path, preds = tmp_path / f"preds.{suffix}", read_mpii_truth(annotations)["joints"]
    savemat(path, {"preds": preds}) if suffix == "mat" else np.savez(path, preds=preds)
    flags = (f"--predictions={path}", f"--annotations={annotations}", f"--report={tmp_path / 'out.json'}")
    done = _eval("--config=mpii", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mpii\nMean_weighted     100.000    Mean              100.000"), done.stdout
    report = json.loads((tmp_path / "out.json").read_bytes())
    assert [report[f"mpii/{name}"] for name in _MPII] == [100.0] * len(_MPII)


def test_a_results_file_of_ap10k(shared_data, tmp_path):
    """One of the two species is predicted in the wrong place: AP is the mean over species."""
    annotations = shared_data / "ap10k" / "test_ap10k.json"
    first, second = json.loads(annotations.read_bytes())["annotations"]
    fields = ("image_id", "category_id", "keypoints")
    results = [{f: animal[f] for f in fields} | {"score": 1.0} for animal in (first, second)]
    results[1]["keypoints"] = [value + 1000 for value in second["keypoints"]]
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    flags = (f"--predictions={tmp_path / 'results.json'}", f"--annotations={annotations}")
    done = _eval("--config=ap10k", *flags, f"--report={tmp_path / 'out.json'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ap10k\nAP                  0.500"), done.stdout
    assert json.loads((tmp_path / "out.json").read_bytes())["ap10k/AP"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--report={folder}"], r"error: {folder} can't be written \(Is a directory\); give the name of a file$"),
        (["--config.eval.metrics=('mpii',)"], "error: .*person_keypoints_val2017.json can't be read"),
        (["--workdir={folder}"], "error: give either --workdir, .* or --predictions and --annotations"),
    ],
)
def test_mistakes_print_one_line(flags, line, coco_flags, tmp_path):
    done = _eval(*coco_flags, *(flag.format(folder=tmp_path) for flag in flags))
    assert done.returncode == 1
    assert re.match(line.format(folder=tmp_path), done.stderr.splitlines()[-1]), done.stderr
