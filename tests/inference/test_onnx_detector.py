"""Detectors in ONNX files: small graphs in the output forms of YOLOX and RTMDet."""

from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.onnx_detector import OnnxDetector, letterbox

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIDE = 64
CELLS = 8 * 8 + 4 * 4 + 2 * 2


def _save(path: Path, nodes: list, outputs: dict[str, list], constants: dict[str, np.ndarray], side=SIDE) -> Path:
    helper, kind = onnx.helper, onnx.TensorProto
    image = helper.make_tensor_value_info("image", kind.FLOAT, [1, 3, side, side])
    types = [
        helper.make_tensor_value_info(name, kind.INT64 if name == "labels" else kind.FLOAT, shape)
        for name, shape in outputs.items()
    ]
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "detector", [image], types, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _yolox(path: Path, rows: np.ndarray) -> Path:
    """A YOLOX file whose output is the same for all images."""
    node = onnx.helper.make_node
    nodes = [
        node("ReduceMean", ["image"], ["mean"], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Add", ["rows", "nothing"], ["output"]),
    ]
    return _save(path, nodes, {"output": [1, CELLS, 7]}, {"rows": rows, "zero": np.zeros((), np.float32)})


def _rtmdet(path: Path) -> Path:
    """An RTMDet file with two boxes. Their scores are the first channel of the first and last pixel, scaled."""
    node = onnx.helper.make_node
    nodes = [
        node("Slice", ["image", "first", "first_end", "axes"], ["a"]),
        node("Slice", ["image", "last", "last_end", "axes"], ["b"]),
        node("Concat", ["a", "b"], ["ab"], axis=2),
        node("Reshape", ["ab", "shape"], ["flat"]),
        node("Mul", ["flat", "scale"], ["scaled"]),
        node("Add", ["scaled", "half"], ["scores"]),
        node("Concat", ["corners", "scores"], ["dets"], axis=2),
        node("Identity", ["classes"], ["labels"]),
    ]
    constants = {
        "first": np.array([0, 0, 0]),
        "first_end": np.array([1, 1, 1]),
        "last": np.array([0, SIDE - 1, SIDE - 1]),
        "last_end": np.array([1, SIDE, SIDE]),
        "axes": np.array([1, 2, 3]),
        "shape": np.array([1, 2, 1]),
        "scale": np.float32(0.1),
        "half": np.float32(0.5),
        "corners": np.array([[[4, 8, 20, 32], [1, 2, 3, 4]]], np.float32),
        "classes": np.array([[0, 0]]),
    }
    return _save(path, nodes, {"dets": [1, 2, 5], "labels": [1, 2]}, constants)


def test_yolox_grids_scores_and_suppression(tmp_path):
    rows = np.zeros((1, CELLS, 7), np.float32)
    # Stride 8, row 2, column 3: a person of 16x32 at (28, 20), and a near duplicate with a lower score.
    rows[0, 2 * 8 + 3] = [0.5, 0.5, np.log(2), np.log(4), 0.9, 0.8, 0.1]
    rows[0, 2 * 8 + 4] = [-0.5, 0.5, np.log(2), np.log(4), 0.9, 0.7, 0.1]
    # Stride 16, row 1, column 0: of another class. Stride 32, row 1, column 1: a person of 32x32 at (32, 40).
    rows[0, 64 + 1 * 4] = [0.5, 0.5, 0, 0, 1.0, 0.0, 1.0]
    rows[0, 80 + 3] = [0.0, 0.25, 0, 0, 0.5, 0.7, 0.0]
    rows[0, 80] = [0.0, 0.0, 0, 0, 0.5, 0.4, 0.0]  # below the threshold
    image = np.zeros((2 * SIDE, SIDE, 3), np.uint8)  # shrunk by 2
    path = _yolox(tmp_path / "yolox.onnx", rows)
    boxes, scores = OnnxDetector(path, threshold=0.3)(image)
    order = np.argsort(-scores)
    np.testing.assert_allclose(boxes[order], [[40, 8, 32, 64], [32, 48, 64, 64]], rtol=1e-6)
    np.testing.assert_allclose(scores[order], [0.72, 0.35], rtol=1e-6)
    _, scores = OnnxDetector(path, threshold=0.3, classes=[0, 1])(image)
    assert sorted(scores.round(2)) == [0.35, 0.72, 1.0]


@pytest.mark.parametrize(("form", "normalized"), [("auto", True), ("rtmdet", True), ("yolox", False)])
def test_rtmdet_takes_bgr_on_grey(tmp_path, form, normalized):
    image = np.full((32, 16, 3), (10, 20, 105), np.uint8)  # blue is 105
    boxes, scores = OnnxDetector(_rtmdet(tmp_path / "rtmdet.onnx"), form=form, threshold=-100.0)(image)
    pixels = np.array([105, 114.0])
    expected = ((pixels - 103.53) / 57.375 if normalized else pixels) * 0.1 + 0.5
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    np.testing.assert_allclose(boxes, [[2, 4, 8, 12], [0.5, 1, 1, 1]])


def test_the_letterbox_keeps_the_aspect():
    image = np.full((10, 30, 3), 200, np.uint8)
    letter, scale = letterbox(image, (SIDE, SIDE))
    assert scale == pytest.approx(SIDE / 30) and letter.shape == (SIDE, SIDE, 3)
    assert (letter[:21] == 200).all() and (letter[21:] == 114).all()


def test_other_files_are_refused(tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("no graph", encoding="utf-8")
    with pytest.raises(UserError, match="not an ONNX file that onnxruntime reads"):
        OnnxDetector(text)
    nodes = [onnx.helper.make_node("Identity", ["image"], ["output"])]
    other = _save(tmp_path / "other.onnx", nodes, {"output": [1, 3, SIDE, SIDE]}, {})
    with pytest.raises(UserError, match="expected YOLOX's"):
        OnnxDetector(other)(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="with class 2 among them"):
        OnnxDetector(_yolox(tmp_path / "y.onnx", np.zeros((1, CELLS, 7), np.float32)), classes=[2])(
            np.zeros((8, 8, 3), np.uint8)
        )
