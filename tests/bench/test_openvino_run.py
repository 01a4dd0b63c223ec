"""Exported files in OpenVINO give what they give in ONNX Runtime."""

import json
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.config import Config, DataConfig, ModelConfig
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.program import Options
from tests.artifact.conftest import crops, random_weights

__all__ = ["crops", "random_weights"]

pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
onnx_format = pytest.importorskip("mamkpd_jax.export.formats.onnx")
pytest.importorskip("openvino")

from mamkpd_jax.bench.openvino_run import openvino_run  # noqa: E402 (needs openvino)

_CONFIG = Config(
    model=ModelConfig(depths=(1,), dims=(16,), decoder_dim=16),
    data=DataConfig(dataset="synthetic_people", input_hw=(64, 48)),
)


def _same(path: Path, images: np.ndarray, sizes: tuple[int, ...]) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    run = openvino_run(path, threads=1)
    names = [output.name for output in session.get_outputs()]
    for size in sizes:
        expected = session.run(None, {"image": images[:size]})
        for name, a, b in zip(names, run(images[:size]), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3 if name == "points" else 1e-4 * np.abs(b).max(), rtol=0)


@pytest.mark.parametrize(("decode", "batch"), [(False, 0), (True, 2)])
def test_outputs_equal_those_of_onnxruntime(tmp_path, random_weights, crops, decode, batch):
    path = tmp_path / "model.onnx"
    onnx_format.save(random_weights(_CONFIG), path, Options(flip_test=decode, decode=decode), batch=batch)
    _same(path, crops(_CONFIG.data.input_hw), (2,) if batch else (1, 2))


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
