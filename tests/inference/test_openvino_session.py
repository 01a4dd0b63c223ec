"""Exported files have the same outputs in OpenVINO as in ONNX Runtime."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.config import Config, DataConfig, ModelConfig
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.model.mamkpd import normalize
from mamkpd_jax.program import NETWORK, Options
from tests.artifact.conftest import crops, random_weights

__all__ = ["crops", "random_weights"]

pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
onnx_format = pytest.importorskip("mamkpd_jax.export.formats.onnx")
Session = pytest.importorskip("mamkpd_jax.inference.openvino_session").OpenVinoSession

_CONFIG = Config(
    model=ModelConfig(depths=(1,), dims=(16,), decoder_dim=16),
    data=DataConfig(dataset="synthetic_people", input_hw=(64, 48)),
)


def _same(path: Path, images: np.ndarray, sizes: tuple[int, ...]) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    openvino = Session(path, threads=1)
    names = [output.name for output in session.get_outputs()]
    for size in sizes:
        expected = session.run(None, {"image": images[:size]})
        for name, a, b in zip(names, openvino.run(None, {"image": images[:size]}), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3 if name == "points" else 1e-4 * np.abs(b).max(), rtol=0)


def _close(path: Path, images: np.ndarray) -> None:
    """The runtimes sum in different orders, so some values round to the next int8 step, and peaks differ slightly."""
    (expected,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": images})
    (found,) = Session(path, threads=1).run(None, {"image": images})
    difference = np.abs(found - expected) / np.abs(expected).max()
    assert difference.mean() < 2e-3 and difference.max() < 0.1


@pytest.mark.parametrize(("decode", "batch"), [(False, 0), (True, 2)])
def test_outputs_equal_those_of_onnxruntime(tmp_path, random_weights, crops, decode, batch):
    path = tmp_path / "model.onnx"
    onnx_format.save(random_weights(_CONFIG), path, Options(flip_test=decode, decode=decode), batch=batch)
    _same(path, crops(_CONFIG.data.input_hw), (2,) if batch else (1, 2))


def test_int8_is_close_to_onnxruntime(tmp_path, random_weights, crops):
    images = crops(_CONFIG.data.input_hw)
    onnx_format.save(random_weights(_CONFIG), tmp_path / "int8.onnx", NETWORK, "int8", calibration=images)
    _close(tmp_path / "int8.onnx", np.asarray(normalize(images)).transpose(0, 3, 1, 2))


def test_nothing_is_reported_or_written_at_import(tmp_path):
    """By default OpenVINO sends telemetry at import, and keeps an identity in the home folder."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    code = "import mamkpd_jax.inference.openvino_session, sys; print(sys.modules['openvino_telemetry'])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n" and not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["people", "animals"])
def test_shipped_models_equal_onnxruntime(tmp_path, shared_data, name):
    if name == "people":
        folder, annotations = shared_data / "coco_mini", "test_coco.json"
    else:
        folder, annotations = shared_data / "ap10k", "test_ap10k.json"
    content = json.loads((folder / annotations).read_bytes())
    files = {image["id"]: next(folder.rglob(image["file_name"])) for image in content["images"]}
    artifact = read_artifact(name)
    predictor = Predictor(artifact)
    found = [predictor.crops(files[a["image_id"]], [a["bbox"]]).images for a in content["annotations"][:8]]
    images = np.concatenate(found)
    for decode in (False, True):
        onnx_format.save(artifact, tmp_path / "model.onnx", Options(decode=decode))
        _same(tmp_path / "model.onnx", images, (1, len(images)))
    onnx_format.save(artifact, tmp_path / "int8.onnx", Options(decode=False), "int8", calibration=images)
    _close(tmp_path / "int8.onnx", images)
