"""The operators of exported ONNX files against those that TensorRT documents."""

import dataclasses
import functools

import pytest

from mamkpd_jax.config import Config, DataConfig, HeatmapConfig, ModelConfig
from mamkpd_jax.program import NETWORK, Options

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from mamkpd_jax.export.formats.onnx import OPSET, save  # noqa: E402 (needs onnx)

# Source: docs/operators.md of https://github.com/onnx/onnx-tensorrt, branch 10.1-GA: the data types of the operators in
# exported files. TensorRT 10.15 lists the same types for all of them.
_OPSETS = range(9, 21)
_FLOATS = "FLOAT FLOAT16"
_NUMBERS = f"{_FLOATS} INT64"
_ANY = f"{_NUMBERS} BOOL"
_TYPES = {
    **dict.fromkeys("Clip Conv ConvTranspose Exp LayerNormalization Log MatMul Sigmoid".split(), _FLOATS),
    **dict.fromkeys("Add ArgMax Div Equal Gelu Greater Less Max Mod Mul Pad".split(), _NUMBERS),
    **dict.fromkeys("ReduceMax ReduceSum Relu Sign Sub".split(), _NUMBERS),
    **dict.fromkeys("Concat Gather GatherElements Reshape Shape Slice Split Squeeze Transpose Where".split(), _ANY),
    "And": "BOOL",
    "QuantizeLinear": f"{_FLOATS} INT8",  # the input and scale, and the zero point, which must be 0
    "DequantizeLinear": f"{_FLOATS} INT8",
    "Cast": f"{_ANY} UINT8",
}
_AXES = {"Pad": 3, "ReduceMax": 1, "ReduceSum": 1, "Slice": 3, "Squeeze": 1}  # the input that must be a constant

# Together they cover every part of the variants, codecs and options.
_CASES = {
    "cmm, dark": (ModelConfig(dims=(8,), depths=(1,)), "dark", Options()),
    "conv, udp, d_state": (
        ModelConfig(stem=False, downsampling="conv", d_state=2, dims=(8,), depths=(1,)),
        "udp",
        Options(),
    ),
    "merging, plain": (ModelConfig(stem=False, downsampling="merging", dims=(8,), depths=(1,)), "plain", Options()),
    "network": (ModelConfig(dims=(8,), depths=(1,)), "dark", NETWORK),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, random_weights, crops):
    """Exports a case in a precision, once."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"

    @functools.cache
    def make(case: str, precision: str) -> onnx.ModelProto:
        model, codec, options = _CASES[case]
        data = DataConfig(dataset="synthetic_people", input_hw=(64, 48))
        narrow = dataclasses.replace(model, decoder_dim=8)
        config = Config(model=narrow, head=HeatmapConfig(codec=codec), data=data)
        calibration = crops(data.input_hw) if precision == "int8" else None
        save(random_weights(config), path, options, precision, calibration=calibration)
        return onnx.load(path)

    return make


@pytest.mark.parametrize(
    ("case", "precision"), [*((case, "fp32") for case in _CASES), ("cmm, dark", "fp16"), ("merging, plain", "int8")]
)
def test_tensorrt_documents_all_operators_and_types(exported, case, precision):
    model = exported(case, precision)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)] and OPSET in _OPSETS
    graph = onnx.shape_inference.infer_shapes(model).graph
    constants = {array.name: array.data_type for array in graph.initializer}
    values = (*graph.input, *graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values} | constants
    for node in graph.node:
        kinds = {onnx.TensorProto.DataType.Name(types[name]) for name in node.input if name}
        assert kinds <= set(_TYPES[node.op_type].split()), node.name
        axes = _AXES.get(node.op_type)
        assert axes is None or len(node.input) <= axes or node.input[axes] in constants, node.name
        assert node.op_type != "LayerNormalization" or len(node.output) == 1


def test_zero_points_are_zero_in_int8(exported):
    graph = exported("merging, plain", "int8").graph
    constants = {array.name: onnx.numpy_helper.to_array(array) for array in graph.initializer}
    zeros = [constants[node.input[2]] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert zeros and not any(zero.any() for zero in zeros)
