"""Runs on custom joints: the weights carry the skeleton into every file format."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from mamkpd_jax import Predictor
from mamkpd_jax.artifact.checkpoints import read_checkpoint, write_checkpoint
from mamkpd_jax.artifact.weight_files import load, save
from mamkpd_jax.commands import train
from mamkpd_jax.config import Config
from mamkpd_jax.errors import UserError
from mamkpd_jax.export.formats import stablehlo
from mamkpd_jax.program import Options
from mamkpd_jax.skeletons import COCO

_NAMED_ANEW = {
    "joints": [f"{joint}_of_a_bird" for joint in COCO.joints],
    "flip_pairs": [[1, 2], [5, 6]],
    "edges": [[0, 1], [0, 2]],
    "sigmas": [0.03 + joint / 1000 for joint in range(17)],
    "upper_body": [0, 1, 2],
    "lower_body": [15, 16],
}


@pytest.fixture
def custom(tiny: Config, coco_mini_root: Path, tmp_path: Path) -> Config:
    """A config for three steps on real persons as a custom data set; its files are in the folder `set`."""
    root = tmp_path / "set"
    shutil.copytree(coco_mini_root, root)
    (root / "bird.json").write_text(json.dumps(_NAMED_ANEW), encoding="utf-8")
    files = {f"{split}_annotations": f"annotations/person_keypoints_{split}2017.json" for split in ("train", "val")}
    files |= {f"{split}_images": f"{split}2017" for split in ("train", "val")}
    tiny.data = dataclasses.replace(tiny.data, dataset="custom_coco", root=str(root), **files)
    tiny.optim.epochs = 1
    return tiny


def _name_joints(root: Path, joints: list[str]) -> None:
    """Renames the keypoints of the annotation files."""
    for path in (root / "annotations").iterdir():
        content = json.loads(path.read_bytes())
        content["categories"][0]["keypoints"] = joints
        path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("file", ["", "bird.json"])
def test_weights_carry_their_joints(file, custom, shared_data, tmp_path):
    if file:
        custom.data.skeleton = str(tmp_path / "set" / file)
        _name_joints(tmp_path / "set", _NAMED_ANEW["joints"])
    train.train(custom, tmp_path / "run")
    shutil.rmtree(tmp_path / "set")  # as on another machine
    weights = read_checkpoint(tmp_path / "run")
    expected = _NAMED_ANEW["joints"] if file else list(COCO.joints)
    assert list(weights.skeleton.joints) == expected and weights.skeleton.name == ("bird" if file else "person")

    picture = shared_data / "coco_mini" / "000000000785.jpg"
    (pose,) = Predictor(weights)(picture, "whole")[0].keypoints
    for i, suffix in enumerate((".safetensors", ".pth")):
        if suffix == ".pth":
            pytest.importorskip("torch")
        save(weights, tmp_path / f"model{suffix}")
        write_checkpoint(load(tmp_path / f"model{suffix}"), tmp_path / f"back{i}")
        back = read_checkpoint(tmp_path / f"back{i}")
        assert (back.skeleton, back.step) == (weights.skeleton, 3)
        for a, b in zip(*(jax.tree.leaves((w.params, w.batch_stats)) for w in (weights, back)), strict=True):
            np.testing.assert_array_equal(a, b)
        found = Predictor.from_pretrained(tmp_path / f"back{i}")(picture, "whole")[0]
        assert found.skeleton == weights.skeleton
        np.testing.assert_array_equal(found.keypoints[0], pose)

    stablehlo.save(weights, tmp_path / "exported", Options())
    description = json.loads((tmp_path / "exported" / "model.json").read_bytes())
    assert description["skeleton"]["joints"] == expected
    onnx = pytest.importorskip("onnx")
    from mamkpd_jax.export.formats.onnx import save as save_onnx

    save_onnx(weights, tmp_path / "model.onnx", Options())
    about = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(about["mamkpd"])["skeleton"] == description["skeleton"]


def test_other_joints_are_refused(custom, tmp_path, run):
    """Converted weights with the same joints are evaluated, though no file names the joints any more."""
    custom.data.skeleton = str(tmp_path / "set" / "bird.json")
    _name_joints(tmp_path / "set", _NAMED_ANEW["joints"])
    train.train(custom, tmp_path / "run")
    save(read_checkpoint(tmp_path / "run"), tmp_path / "model.safetensors")
    write_checkpoint(load(tmp_path / "model.safetensors"), tmp_path / "back")
    status, _, err = run("eval.py", custom, tmp_path / "back")
    assert status == 0, err

    custom.data.skeleton = ""
    _name_joints(tmp_path / "set", list(COCO.joints))
    message = "finds the joints nose_of_a_bird, .*, and the data set labels nose, left_eye, "
    with pytest.raises(UserError, match=message):
        train.train(custom, tmp_path / "run")
    status, _, err = run("eval.py", custom, tmp_path / "back")
    assert status == 1 and "finds the joints nose_of_a_bird, " in err.splitlines()[-1], err
