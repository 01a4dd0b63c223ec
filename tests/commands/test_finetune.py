"""The command `mamkpd finetune`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.artifact.weight_files import save
from mamkpd_jax.commands.finetune import finetune
from mamkpd_jax.data.splitting import split_annotations
from mamkpd_jax.errors import UserError
from mamkpd_jax.sharding import training_mesh
from mamkpd_jax.skeleton_files import make_skeleton
from mamkpd_jax.skeletons import COCO
from mamkpd_jax.training.finetune_config import data_config
from mamkpd_jax.training.optimizer import optimizer
from mamkpd_jax.training.state import create_state
from tests.joints import skeleton_of

_OWN = {"nose": "Nase", "left_wrist": "Hand_L", "right_wrist": "Hand_R"}


@pytest.fixture
def labelled(coco_mini_root, tmp_path) -> tuple[Path, Path]:
    """An annotation file of three keypoints with new names, and the folder of its images."""
    data = json.loads((coco_mini_root / "annotations" / "person_keypoints_val2017.json").read_bytes())
    joints = [COCO.joints.index(name) for name in _OWN]
    for annotation in data["annotations"]:
        triples = np.reshape(annotation["keypoints"], (-1, 3))[joints]
        annotation |= {"keypoints": triples.ravel().tolist(), "num_keypoints": int((triples[:, 2] > 0).sum())}
    data["categories"] = [{"id": 1, "name": "Mensch", "keypoints": list(_OWN.values())}]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path, coco_mini_root / "val2017"


def _start(tiny, path, skeleton) -> str:
    """Writes weights of a small untrained model; returns their path."""
    state = create_state(tiny, skeleton, optimizer(tiny.optim, 1), training_mesh())
    arrays = jax.tree.map(np.asarray, {"params": state.params, "batch_stats": state.batch_stats})
    save(Artifact(config=tiny, skeleton=skeleton, step=0, **arrays), path)
    return str(path)


def _data(labelled, workdir):
    annotations, images = labelled
    return data_config(*split_annotations(annotations, workdir / "data"), images, images, "", workdir / "built")


def test_a_labelled_folder_becomes_a_model(tiny, labelled, tmp_path, capsys, caplog):
    caplog.set_level("INFO", logger="absl")
    workdir, start = tmp_path / "run", _start(tiny, tmp_path / "start.safetensors", skeleton_of(5))
    after = finetune(_data(labelled, workdir), workdir, start, steps=3)
    out = capsys.readouterr().out
    for command in ("eval --workdir=", "predict --checkpoint=", "export --checkpoint="):
        assert f"mamkpd {command}{workdir}" in out
    report = (workdir / "report.md").read_text(encoding="utf-8")
    rates = re.findall(r"^\| pck_box@0.1/(\S+) \| ([-\d.]+) \| ([-\d.]+) \|$", report, re.MULTILINE)
    assert [name for name, *_ in rates] == ["mean", *_OWN.values()]
    assert rates[0][2] == f"{after['pck_box@0.1/mean']:.3g}" and float(rates[0][1]) >= 0
    assert "flip pairs: Hand_L - Hand_R" in report and "after fitting the last layer" in report
    for picture in re.findall(r"!\[.*\]\((.*)\)", report):
        assert (workdir / picture).exists()
    assert read_artifact(workdir).skeleton.joints == tuple(_OWN.values())
    config = read_artifact(workdir).config
    assert config.model.dims == (8,) and config.optim.epochs == 3, "an epoch is one batch here"

    again = finetune(_data(labelled, workdir), workdir, start, steps=3)
    assert "is complete" in caplog.text and again["pck_box@0.1/mean"] == pytest.approx(after["pck_box@0.1/mean"])
    with pytest.raises(UserError, match="has a run with another --init_from; give another --workdir"):
        finetune(_data(labelled, workdir), workdir, "none", steps=3)


def test_known_keypoints_keep_their_last_layer(tiny, labelled, tmp_path):
    data = _data(labelled, tmp_path)
    joints = json.loads(Path(data.val_annotations).read_bytes())["categories"][0]["keypoints"]
    named = make_skeleton("own", {"joints": joints})
    start = _start(tiny, tmp_path / "before.safetensors", named)
    finetune(data, tmp_path, start, steps=1)
    kernel = read_artifact(tmp_path / "start.safetensors").params["decoder"]["head"]["kernel"]
    np.testing.assert_array_equal(kernel, read_artifact(start).params["decoder"]["head"]["kernel"])
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "the column 'before' has their scores" in report


def _run(*flags: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "mamkpd_jax", "finetune", *flags]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--annotations=/nowhere.json"], "/nowhere.json can't be read"),
        (["--images=/nowhere"], "--images: /nowhere is not a folder"),
        (["--val_images=/nowhere"], "--val_images is given without --val_annotations"),
        (["--init_from=elephants"], "elephants is no model, folder or file; expected animals, people"),
        (["--skeleton=/nowhere.json"], "/nowhere.json is not a skeleton file"),
    ],
)
def test_mistakes_print_one_line(flags, line, labelled, tmp_path):
    annotations, images = labelled
    status, err = _run(f"--annotations={annotations}", f"--images={images}", f"--workdir={tmp_path / 'run'}", *flags)
    assert status == 1 and line in err.splitlines()[-1] and err.splitlines()[-1].startswith("error: "), err
    assert "Traceback" not in err
