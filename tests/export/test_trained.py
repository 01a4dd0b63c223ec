"""The model that `make train` trained: PyTorch, ONNX and StableHLO against JAX, on real crops.

Run by `pytest -m long tests/export/test_trained.py`. MAMKPD_QUICKSTART names the run directory; the default is
runs/quickstart in the repository.
"""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.checkpoints import read_checkpoint
from mamkpd_jax.artifact.weight_files import load, save
from mamkpd_jax.export.formats import stablehlo
from mamkpd_jax.model.mamkpd import normalize
from mamkpd_jax.program import NETWORK, program_of

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from mamkpd_jax.artifact.torch_model import MamKPD  # noqa: E402 (needs torch)
from mamkpd_jax.export.formats import onnx as onnx_format  # noqa: E402 (needs onnx)

pytestmark = pytest.mark.long  # needs minutes of training first


@pytest.fixture(scope="module")
def weights() -> Artifact:
    folder = Path(os.environ.get("MAMKPD_QUICKSTART", Path(__file__).parents[2] / "runs" / "quickstart"))
    if not folder.is_dir():
        # Not skipped: whoever runs a long test asked for it.
        pytest.fail(f"no {folder}: run `make train`, or set MAMKPD_QUICKSTART to the folder of its run", pytrace=False)
    return read_checkpoint(folder)


@pytest.fixture(scope="module")
def images(weights, crops) -> np.ndarray:
    return np.array(normalize(jnp.asarray(crops(weights.config.data.input_hw))))


@pytest.fixture(scope="module")
def expected(weights, images) -> np.ndarray:
    return np.asarray(jax.jit(program_of(weights, NETWORK))(jnp.asarray(images)))


def _check(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    error = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"{name}: {error:.1e} of the largest value")
    assert error < tolerance


def test_torch(tmp_path, weights, images, expected):
    save(weights, tmp_path / "model.safetensors")
    twin = MamKPD.from_safetensors(tmp_path / "model.safetensors")
    with torch.inference_mode():
        heatmaps = twin(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    _check("torch", heatmaps.numpy(), expected, 1e-5)

    twin.save_pth(tmp_path / "back.pth")
    back = load(tmp_path / "back.pth")
    leaves, expected_leaves = (jax.tree.leaves((w.params, w.batch_stats)) for w in (back, weights))
    assert [leaf.tobytes() for leaf in leaves] == [leaf.tobytes() for leaf in expected_leaves]


def test_onnx(tmp_path, weights, images, expected):
    onnx_format.save(weights, tmp_path / "model.onnx", NETWORK)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (heatmaps,) = session.run(None, {"image": images.transpose(0, 3, 1, 2)})
    _check("onnxruntime", heatmaps.transpose(0, 2, 3, 1), expected, 1e-4)


def test_stablehlo(tmp_path, weights, images, expected):
    stablehlo.save(weights, tmp_path / "model.stablehlo", NETWORK)
    exported = jax.export.deserialize(bytearray((tmp_path / "model.stablehlo").read_bytes()))
    _check("StableHLO", np.asarray(exported.call(images)), expected, 1e-6)
