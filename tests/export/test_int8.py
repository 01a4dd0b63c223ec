"""ONNX files in int8: fixed scales, weights by channel, and results close to those in fp32."""

import re

import numpy as np
import pytest

from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.config import Config, DataConfig, ModelConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.calibration import calibration_crops, find_calibration
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.program import NETWORK, Options

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from mamkpd_jax.export.formats.onnx import save  # noqa: E402 (needs onnx)

_CONFIG = Config(
    model=ModelConfig(depths=(1,), dims=(8,), decoder_dim=8),
    data=DataConfig(dataset="synthetic_people", input_hw=(64, 48)),
)


def _run(path, images: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": images})


def _constants(graph) -> dict[str, np.ndarray]:
    return {array.name: onnx.numpy_helper.to_array(array) for array in graph.initializer}


@pytest.fixture(scope="module")
def photos(shared_data):
    """Crops of the people in real photos."""
    pictures = find_calibration(str(shared_data / "coco" / "val2017"))
    return calibration_crops(Predictor.from_pretrained("people"), pictures, limit=16)


@pytest.fixture(scope="module")
def people(photos, tmp_path_factory):
    """The folder of the model `people` with the flip test, in fp32 and in int8; half of the crops calibrate it."""
    folder, artifact = tmp_path_factory.mktemp("people"), read_artifact("people")
    save(artifact, folder / "fp32.onnx", Options())
    save(artifact, folder / "int8.onnx", Options(), "int8", calibration=photos[:8])
    return folder


def _check_that_neighbours_do_not_count(path, images: np.ndarray) -> None:
    images = np.concatenate([images[:6], np.full_like(images[:1], 255), np.zeros_like(images[:1])])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    alone = [session.run(None, {"image": image[None]}) for image in images]
    for chosen in ([*range(len(images))], [0, -2, -1]):
        for i, *found in zip(chosen, *session.run(None, {"image": images[chosen]}), strict=True):
            assert all(np.array_equal(a, b[0]) for a, b in zip(found, alone[i], strict=True))


def test_a_crop_is_independent_of_its_neighbours(people, photos):
    _check_that_neighbours_do_not_count(people / "int8.onnx", photos)


def test_a_crop_is_independent_without_flip_test(random_weights, crops, tmp_path):
    images = crops((64, 48))
    save(random_weights(_CONFIG), tmp_path / "model.onnx", Options(flip_test=False), "int8", calibration=images)
    _check_that_neighbours_do_not_count(tmp_path / "model.onnx", images)


def test_points_of_unseen_photos_are_close_to_fp32(people, photos):
    (points, scores), (points8, scores8) = (_run(people / f"{name}.onnx", photos[8:]) for name in ("fp32", "int8"))
    distance_px = np.linalg.norm(points8 - points, axis=-1)[scores > 0.2]
    assert 0 < np.median(distance_px) < 0.5 and np.mean(distance_px > 6) < 0.05
    assert np.abs(scores8 - scores).mean() < 0.02


def test_weights_are_int8_by_channel(people):
    graph = onnx.load(people / "int8.onnx").graph
    constants, by_output = _constants(graph), {output: node for node in graph.node for output in node.output}
    layers = [
        node for node in graph.node if node.op_type == "MatMul" and re.search("/(in|out|mlp).*/M|intra", node.name)
    ]
    assert len(layers) == 2 * 27  # one is the mirrored image's
    for layer in layers:
        inputs, weight = (by_output[name] for name in layer.input)
        assert [inputs.op_type, weight.op_type] == ["DequantizeLinear"] * 2
        values, scales, zeros = (constants[name] for name in weight.input)
        assert values.dtype == np.int8 and scales.shape == zeros.shape == values.shape[1:]
        assert 60 < np.abs(values).max() <= 64  # two products fit into 16 bits, as CPUs without VNNI add them
        assert constants[inputs.input[1]].shape == () and not zeros.any() and not constants[inputs.input[2]]
    sizes = [(people / f"{name}.onnx").stat().st_size for name in ("int8", "fp32")]
    assert sizes[0] < 0.8 * sizes[1]


def test_the_scan_stays_in_fp32(people):
    graph = onnx.load(people / "int8.onnx").graph
    quantized = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    in_scan = [node for node in graph.node if node.op_type == "MatMul" and re.search(r"/ss2d(_\d+)?/MatMul", node.name)]
    assert len(in_scan) == 2 * 6 * 9 and not any(quantized & set(node.input) for node in in_scan)


def test_every_calibration_crop_counts(random_weights, crops, tmp_path):
    images = crops((64, 48))
    dark = np.concatenate([images // 8] * 4)  # a batch
    scales = []
    for calibration in (np.concatenate([dark, images]), np.concatenate([images, dark]), dark):
        save(random_weights(_CONFIG), tmp_path / "model.onnx", NETWORK, "int8", calibration=calibration)
        graph = onnx.load(tmp_path / "model.onnx").graph
        constants = _constants(graph)
        scales.append([constants[node.input[1]] for node in graph.node if node.op_type == "QuantizeLinear"])
    np.testing.assert_array_equal(scales[0], scales[1])
    assert len(scales[0]) == 5 and (np.array(scales[0]) >= scales[2]).all() and not np.array_equal(scales[0], scales[2])


@pytest.mark.parametrize(
    ("precision", "calibration", "message"),
    [
        ("int8", None, "the precision is int8 without a calibration; give crops for it"),
        ("fp16", np.zeros((2, 64, 48, 3), np.uint8), "the precision is fp16 with a calibration; leave it out"),
        ("int8", np.zeros((0, 64, 48, 3), np.uint8), "the calibration has the shape [0, 64, 48, 3]; expected"),
        (
            "int8",
            np.zeros((2, 48, 64, 3), np.uint8),
            "[2, 48, 64, 3]; expected at least one crop, [n, 64, 48, 3]",
        ),
    ],
)
def test_wrong_calibrations_are_refused(random_weights, tmp_path, precision, calibration, message):
    with pytest.raises(UserError) as refusal:
        save(random_weights(_CONFIG), tmp_path / "model.onnx", Options(), precision, calibration=calibration)
    assert message in str(refusal.value) and not list(tmp_path.iterdir())
