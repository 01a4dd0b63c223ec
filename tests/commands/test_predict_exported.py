"""`mamkpd predict` with an exported file, as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.artifact.checkpoints import read_checkpoint
from mamkpd_jax.program import Options
from tests.inference.conftest import config, random_weights, workdir

__all__ = ["config", "random_weights", "workdir"]

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
onnx_format = pytest.importorskip("mamkpd_jax.export.formats.onnx")

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(workdir, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    onnx_format.save(read_checkpoint(workdir), path, Options(flip_test=False, decode=False))
    return path


def _run(command: str, checkpoint: Path, *flags: str, platform: str = "none") -> subprocess.CompletedProcess[str]:
    """Runs the program. On the platform "none", which does not exist, any use of JAX raises an error."""
    arguments = [sys.executable, "-m", "mamkpd_jax", command, f"--checkpoint={checkpoint}", *flags]
    variables = os.environ | {"JAX_PLATFORMS": platform}
    return subprocess.run(arguments, cwd=_ROOT, env=variables, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("flip_test", ["--flip_test", "--noflip_test"])
def test_results_equal_those_of_jax_without_jax(workdir, model, shared_data, tmp_path, flip_test):
    pictures = f"--input={shared_data / 'coco_mini'}", f"--boxes={shared_data / 'coco_mini' / 'test_coco.json'}"
    done = _run("predict", model, *pictures, flip_test, f"--output={tmp_path / 'onnx'}")
    assert done.returncode == 0 and "onnxruntime on CPU" in done.stderr, done.stderr
    done = _run("predict", workdir, *pictures, flip_test, f"--output={tmp_path / 'jax'}", platform="cpu")
    assert done.returncode == 0, done.stderr
    expected, found = (json.loads((tmp_path / name / "results.json").read_bytes()) for name in ("jax", "onnx"))
    assert len(found) == len(expected) > 10
    for a, b in zip(found, expected, strict=True):
        assert a["file_name"] == b["file_name"]
        np.testing.assert_allclose(a["keypoints"], b["keypoints"], atol=1e-3)


def test_openvino_runs_exported_files(model, shared_data, tmp_path):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    pictures = f"--input={shared_data / 'coco_mini'}", f"--boxes={shared_data / 'coco_mini' / 'test_coco.json'}"
    for runtime in ("openvino", "onnxruntime"):
        done = _run("predict", model, *pictures, f"--runtime={runtime}", f"--output={tmp_path / runtime}")
        assert done.returncode == 0 and f"{runtime} on CPU" in done.stderr, done.stderr
    found, expected = (json.loads((tmp_path / n / "results.json").read_bytes()) for n in ("openvino", "onnxruntime"))
    assert len(found) == len(expected) > 10
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a["keypoints"], b["keypoints"], atol=1e-3)


def test_openvino_refuses_damaged_files_in_one_line(tmp_path, shared_data):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    (tmp_path / "damaged.onnx").write_text("no model at all\n")
    picture = shared_data / "coco_mini" / "000000000785.jpg"
    where = f"--input={picture}", f"--output={tmp_path / 'out'}", "--runtime=openvino"
    done = _run("predict", tmp_path / "damaged.onnx", *where)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "is damaged or not an ONNX file that OpenVINO reads" in done.stderr


def test_a_checkpoint_would_need_jax(workdir, shared_data, tmp_path):
    done = _run("predict", workdir, f"--input={shared_data / 'coco_mini'}", f"--output={tmp_path / 'out'}")
    assert done.returncode == 1 and "Unable to initialize backend" in done.stderr


def test_a_changed_file_predicts_again(workdir, model, shared_data, tmp_path):
    where = f"--input={shared_data / 'coco_mini'}", "--boxes=whole", f"--output={tmp_path / 'out'}"
    other = tmp_path / "other.onnx"
    onnx_format.save(read_checkpoint(workdir), other, Options(flip_test=False))
    first, second, third = (_run("predict", path, *where) for path in (model, model, other))
    assert first.returncode == second.returncode == third.returncode == 0, first.stderr + third.stderr
    assert "person found" in first.stdout and "person found" not in second.stdout
    assert "4 pictures predicted again: 4 with changed weights" in third.stderr


@pytest.mark.parametrize(
    ("command", "flags", "message"),
    [
        ("predict", ["--input={photo}", "--best"], "leave out --best, which only runs take"),
        ("export", ["--output={new}"], "is an exported file, which only `mamkpd predict`, `mamkpd serve` and"),
    ],
)
def test_mistakes_print_one_line(model, tmp_path, shared_data, command, flags, message):
    photo = shared_data / "coco_mini" / "000000000785.jpg"
    flags = [flag.format(new=tmp_path / "new.onnx", photo=photo) for flag in flags]
    done = _run(command, model, *flags, platform="cpu")
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr and str(model) in done.stderr
