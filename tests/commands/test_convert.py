"""The command `mamkpd convert`."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mamkpd_jax.artifact.checkpoints import read_checkpoint, write_checkpoint
from mamkpd_jax.artifact.weight_files import save
from mamkpd_jax.config import Config, DataConfig, EvalConfig, ModelConfig
from mamkpd_jax.errors import UserError
from tests.artifact.conftest import random_weights

__all__ = ["random_weights"]

_ROOT = Path(__file__).parents[2]
_CONFIG = Config(
    model=ModelConfig(depths=(1, 1, 1), dims=(16, 24, 32), decoder_dim=16),
    data=DataConfig(dataset="synthetic_people", input_hw=(64, 32)),
)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mamkpd_jax", "convert", *arguments]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)


def test_checkpoint_to_file_and_back(tmp_path, random_weights):
    weights = random_weights(_CONFIG)
    write_checkpoint(weights, tmp_path / "run")
    file = tmp_path / "model.safetensors"
    assert _run(f"--checkpoint={tmp_path / 'run'}", f"--output={file}").returncode == 0
    assert _run(f"--input={file}", f"--output={tmp_path / 'back'}").returncode == 0
    back = read_checkpoint(tmp_path / "back")
    for a, b in zip(jax.tree.leaves(weights.params), jax.tree.leaves(back.params), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(jax.tree.leaves(weights.batch_stats), jax.tree.leaves(back.batch_stats), strict=True):
        np.testing.assert_array_equal(a, b)
    assert back.step == weights.step and back.config.model == _CONFIG.model


@pytest.mark.slow  # test_custom_skeletons.py evaluates converted weights too
def test_eval_scores_converted_weights(tmp_path, random_weights, run):
    """Weights converted to a file and back give the same results in eval.py."""
    model = ModelConfig(stem=False, depths=(1, 1), dims=(8, 16), decoder_dim=8)
    data = DataConfig(dataset="synthetic_people", input_hw=(64, 32), build_dir=str(tmp_path / "tfds"))
    data.synthetic_train_images, data.synthetic_val_images = 1, 3
    config = Config(model=model, data=data, eval=EvalConfig(batch_size=4))
    weights = random_weights(config)
    write_checkpoint(weights, tmp_path / "run")
    save(weights, tmp_path / "model.safetensors")
    assert _run(f"--input={tmp_path / 'model.safetensors'}", f"--output={tmp_path / 'back'}").returncode == 0
    for name in ("run", "back"):
        status, _, err = run("eval.py", config, tmp_path / name)
        assert status == 0, err
    results = [json.loads((tmp_path / name / "eval" / "results.json").read_bytes()) for name in ("run", "back")]
    assert results[0] == results[1] and len(results[0]) >= 3


def test_mistakes_print_one_line_and_write_nothing(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    before = sorted(tmp_path.iterdir())
    for arguments in (
        ["--output=model.safetensors"],
        [f"--input={tmp_path / 'bad.safetensors'}", f"--output={tmp_path / 'run'}"],
        [f"--checkpoint={tmp_path / 'none'}", f"--output={tmp_path / 'model.pth'}"],
    ):
        done = _run(*arguments)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_pt_files_are_written_and_read(tmp_path, random_weights):
    pytest.importorskip("torch")
    weights = random_weights(_CONFIG)
    save(weights, tmp_path / "model.safetensors")
    for source, target in (("model.safetensors", "model.pt"), ("model.pt", "back.safetensors")):
        done = _run(f"--input={tmp_path / source}", f"--output={tmp_path / target}")
        assert done.returncode == 0 and (tmp_path / target).is_file(), done.stderr
    assert (tmp_path / "back.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_a_folder_with_checkpoints_is_not_written_to(tmp_path, random_weights):
    weights = random_weights(_CONFIG)
    write_checkpoint(weights, tmp_path)
    with pytest.raises(UserError, match="already"):
        write_checkpoint(weights, tmp_path)


def test_pickle_with_code_is_refused_in_one_line(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "model.pth").write_bytes(pickle.dumps({"state_dict": Path}, protocol=4))  # torch warns of this protocol
    done = _run(f"--input={tmp_path / 'model.pth'}", f"--output={tmp_path / 'run'}")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "could run code" in done.stderr, done.stderr
    assert not (tmp_path / "run").exists()
