"""Exported files with a fixed batch size."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from mamkpd_jax.config import Config, DataConfig, ModelConfig
from mamkpd_jax.export.formats import stablehlo
from mamkpd_jax.program import NETWORK, Options

_BATCH, _OPTIONS = 3, Options(flip_test=False)
_CONFIG = Config(
    model=ModelConfig(stem=False, depths=(1,), dims=(8,), decoder_dim=8),
    data=DataConfig(dataset="synthetic_people", input_hw=(64, 48)),
)


@pytest.fixture(scope="module")
def images(crops) -> np.ndarray:
    two = crops(_CONFIG.data.input_hw)
    return np.concatenate([two, two[:1, :, ::-1]])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_onnx_with_batch_size_equals_dynamic(tmp_path, random_weights, images, precision):
    pytest.importorskip("torch")
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from mamkpd_jax.export.formats.onnx import save

    outputs = []
    for batch in (0, _BATCH):
        calibration = images if precision == "int8" else None
        save(random_weights(_CONFIG), tmp_path / f"{batch}.onnx", _OPTIONS, precision, batch, calibration)
        session = onnxruntime.InferenceSession(tmp_path / f"{batch}.onnx", providers=["CPUExecutionProvider"])
        outputs.append(session.run(["points", "scores"], {"image": images}))
    for dynamic, fixed in zip(*outputs, strict=True):
        np.testing.assert_allclose(fixed, dynamic, atol=1e-3, rtol=0)

    model = onnx.load(tmp_path / f"{_BATCH}.onnx")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]  # a name counts as 0
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    assert shapes["image"] == [_BATCH, 64, 48, 3] and shapes["points"] == [_BATCH, 17, 2]
    assert all(output in shapes for node in model.graph.node for output in node.output if output)
    assert all(0 not in shape for shape in shapes.values())
    assert not {node.op_type for node in model.graph.node} & {"Shape", "Range", "ConstantOfShape", "Expand"}
    about = json.loads({entry.key: entry.value for entry in model.metadata_props}["mamkpd"])
    assert about["batch"] == _BATCH


def test_stablehlo_with_batch_size_equals_symbolic(tmp_path, random_weights, images):
    weights, options = random_weights(_CONFIG), dataclasses.replace(NETWORK, normalize=True)
    found = []
    for batch in (0, _BATCH):
        stablehlo.save(weights, tmp_path / str(batch), options, batch=batch)
        exported = jax.export.deserialize(bytearray((tmp_path / str(batch) / "model.stablehlo").read_bytes()))
        found.append(np.asarray(exported.call(images)))
    np.testing.assert_allclose(found[1], found[0], atol=1e-6 * np.abs(found[0]).max(), rtol=0)
    about = json.loads((tmp_path / str(_BATCH) / "model.json").read_text(encoding="utf-8"))
    assert about["batch"] == _BATCH and about["inputs"][0]["shape"] == [_BATCH, 64, 48, 3]
    assert about["outputs"][0]["shape"][0] == _BATCH
