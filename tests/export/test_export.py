"""Exported files in their runtimes against the model in JAX."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mamkpd_jax.config import Config, DataConfig, ModelConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.export.formats import stablehlo
from mamkpd_jax.model.mamkpd import VARIANTS, variant
from mamkpd_jax.program import NETWORK, Options, program_of

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from mamkpd_jax.export.formats import onnx as onnx_format  # noqa: E402 (needs onnx)

_CONFIG = Config(
    model=ModelConfig(depths=(1, 1), dims=(16, 24), decoder_dim=16),
    data=DataConfig(dataset="synthetic_people", input_hw=(96, 64)),
)
_OPTIONS = {"network": NETWORK, "all": Options()}


@pytest.fixture(scope="module", params=_OPTIONS)
def case(request, random_weights, crops):
    """Artifact, options, images [3, h, w, 3], and the outputs of the model in JAX."""
    weights, options = random_weights(_CONFIG), _OPTIONS[request.param]
    two = crops(_CONFIG.data.input_hw)
    images = np.concatenate([two, two[:1, :, ::-1]])
    if not options.normalize:
        images = (images / 64 - 2).astype(np.float32)
    expected = jax.tree.leaves(jax.jit(program_of(weights, options))(jnp.asarray(images)))
    return weights, options, images, [np.asarray(x) for x in expected]


def _run_onnx(path: Path, options: Options, images: np.ndarray) -> list[np.ndarray]:
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, one_thread, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"image": images if options.normalize else images.transpose(0, 3, 1, 2)})
    return outputs if options.decode else [outputs[0].transpose(0, 2, 3, 1)]


def _calibration(precision: str, crops) -> np.ndarray | None:
    return crops(_CONFIG.data.input_hw) if precision == "int8" else None


def _close(found: list[np.ndarray], expected: list[np.ndarray], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


def test_onnx(tmp_path, case):
    weights, options, images, expected = case
    path = tmp_path / "model.onnx"
    onnx_format.save(weights, path, options)
    _close(_run_onnx(path, options, images), expected, 1e-4)
    _close(_run_onnx(path, options, images[:1]), [x[:1] for x in expected], 1e-4)
    model = onnx.load(path)
    assert len(model.graph.node) < 5000
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(about["mamkpd"])["config"]["data"]["input_hw"] == [96, 64]
    assert json.loads(about["mamkpd"])["options"] == options.parts
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(("flip_test", "decode"), [(False, False), (False, True), (True, False), (True, True)])
def test_onnx_has_shapes_and_takes_empty_batches(tmp_path, random_weights, crops, flip_test, decode, precision):
    narrow = dataclasses.replace(_CONFIG, model=ModelConfig(stem=False, depths=(1, 1), dims=(8, 16), decoder_dim=8))
    options, path = Options(normalize=False, flip_test=flip_test, decode=decode), tmp_path / "model.onnx"
    onnx_format.save(random_weights(narrow), path, options, precision, calibration=_calibration(precision, crops))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert {value.type for value in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}
    shapes = {"points": [17, 2], "scores": [17]} if decode else {"heatmaps": [17, 48, 32]}
    assert {output.name: output.shape for output in session.get_outputs()} == {
        name: ["batch", *shape] for name, shape in shapes.items()
    }
    outputs = session.run(None, {"image": np.zeros((0, 3, 96, 64), np.float32)})
    assert [list(output.shape) for output in outputs] == [[0, *shape] for shape in shapes.values()]


@pytest.mark.long  # a minute each of the larger ones
@pytest.mark.parametrize("name", VARIANTS)
def test_onnx_of_a_variant_at_its_size(tmp_path, random_weights, crops, name):
    weights, path = random_weights(Config(model=variant(name))), tmp_path / "model.onnx"
    onnx_format.save(weights, path, NETWORK)
    images = (crops((256, 192))[:1] / 64 - 2).astype(np.float32)
    expected = np.asarray(jax.jit(program_of(weights, NETWORK))(jnp.asarray(images)))
    (found,) = _run_onnx(path, NETWORK, images)
    nodes, error = len(onnx.load(path).graph.node), np.abs(found - expected).max() / np.abs(expected).max()
    print(f"{name}: {nodes} nodes, {path.stat().st_size / 2**20:.1f} MiB, {error:.1e} of the largest value")
    assert nodes < 5000
    assert error < 1e-4


@pytest.mark.parametrize(("precision", "tolerance", "kind"), [("fp16", 0.02, "FLOAT16"), ("int8", 0.1, "INT8")])
def test_onnx_in_lower_precision(tmp_path, random_weights, crops, precision, tolerance, kind):
    weights, options = random_weights(_CONFIG), NETWORK
    images = (crops(_CONFIG.data.input_hw) / 64 - 2).astype(np.float32)
    onnx_format.save(weights, tmp_path / "full.onnx", options)
    onnx_format.save(weights, tmp_path / "less.onnx", options, precision, calibration=_calibration(precision, crops))
    full, less = (_run_onnx(tmp_path / name, options, images) for name in ("full.onnx", "less.onnx"))
    _close(less, full, tolerance)
    assert not np.array_equal(less[0], full[0])
    weights_kinds = {array.data_type for array in onnx.load(tmp_path / "less.onnx").graph.initializer}
    assert onnx.TensorProto.DataType.Value(kind) in weights_kinds


def test_only_layers_are_fp16(tmp_path, random_weights):
    """Reads the types in the graph: on a CPU onnxruntime computes fp16 nodes in fp32."""
    path = tmp_path / "model.onnx"
    onnx_format.save(random_weights(_CONFIG), path, Options(), "fp16")
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    kinds = {"layers": set(), "scan": set(), "around": set(), "exponentials": set()}
    for node in graph.node:
        kind = types[node.output[0]]
        if node.op_type in ("Exp", "Log"):
            kinds["exponentials"].add(kind)
        if node.op_type in ("Add", "Sub", "Mul", "Div", "Max", "MatMul", "Conv", "ConvTranspose", "Gemm"):
            of_model = "scan" if re.search(r"/ss2d(_\d+)?/[^/]+$", node.name) else "layers"
            kinds[of_model if node.name.startswith("/model") else "around"].add(kind)
    full, half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    for part, expected in {"layers": half, "scan": full, "around": full, "exponentials": full}.items():
        assert kinds[part] - {onnx.TensorProto.INT64} == {expected}, part


def test_stablehlo(tmp_path, case):
    weights, options, images, expected = case
    path = tmp_path / "model.stablehlo"
    stablehlo.save(weights, path, options)
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == ("cpu", "cuda")
    _close([np.asarray(x) for x in jax.tree.leaves(exported.call(images))], expected, 1e-6)
    one = jax.tree.leaves(exported.call(images[:1]))
    _close([np.asarray(x) for x in one], [x[:1] for x in expected], 1e-5)


def test_a_folder_describes_inputs_and_outputs(tmp_path, random_weights, crops):
    data = DataConfig(dataset="synthetic_people", input_hw=(64, 48))
    narrow = Config(model=ModelConfig(stem=False, depths=(1, 1), dims=(8, 16), decoder_dim=8), data=data)
    weights, options, folder = random_weights(narrow), Options(flip_test=False), tmp_path / "model"
    stablehlo.save(weights, folder, options)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model", "model.json", "model.stablehlo"]
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert about["inputs"] == [{"shape": ["b", 64, 48, 3], "dtype": "uint8"}]
    assert [output["shape"] for output in about["outputs"]] == [["b", 17, 2], ["b", 17]]
    assert (
        about["skeleton"]["joints"][0] == "nose"
        and len(about["skeleton"]["edges"]) == 19
        and about["options"]["decode"]
    )
    images = crops((64, 48))
    points, scores = jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes())).call(images)
    expected = jax.jit(program_of(weights, options))(jnp.asarray(images))
    _close([np.asarray(points), np.asarray(scores)], [np.asarray(x) for x in expected], 1e-6)
    with pytest.raises(UserError, match="model already exists"):
        stablehlo.save(weights, folder, options)
