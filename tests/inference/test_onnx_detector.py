"""Detectors in ONNX files: small graphs in the output forms of YOLO, YOLOX and RTMDet."""

import logging
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import letterbox
from mamkpd_jax.inference.onnx_detector import OnnxDetector
from mamkpd_jax.skeletons import ANIMALPOSE, LSPET

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIDE = 64
CELLS = 8 * 8 + 4 * 4 + 2 * 2


def _save(
    path: Path,
    nodes: list,
    outputs: dict[str, list],
    constants: dict[str, np.ndarray],
    *,
    image: list | None = None,
    metadata: dict[str, str] | None = None,
    dtype: type = np.float32,
) -> Path:
    helper = onnx.helper
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shape = [1, 3, SIDE, SIDE] if image is None else image
    types = [
        helper.make_tensor_value_info(name, onnx.TensorProto.INT64 if name == "labels" else kind, shape)
        for name, shape in outputs.items()
    ]
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    inputs = [helper.make_tensor_value_info("image", kind, shape)]
    graph = helper.make_graph(nodes, "detector", inputs, types, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _constant(path: Path, output: np.ndarray, **options) -> Path:
    """A file whose output is the same for all images."""
    node = onnx.helper.make_node
    nodes = [
        node("ReduceMean", ["image"], ["mean"], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Add", ["values", "nothing"], ["output"]),
    ]
    dtype = options.get("dtype", np.float32)
    constants = {"values": output.astype(dtype), "zero": np.zeros((), dtype)}
    return _save(path, nodes, {"output": list(output.shape)}, constants, **options)


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


def _xyxy(boxes: np.ndarray) -> np.ndarray:
    return np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def test_yolox_grids_scores_and_suppression(tmp_path):
    rows = np.zeros((1, CELLS, 7))
    # Stride 8, row 2, column 3: a person of 16x32 at (28, 20), and a near duplicate with a lower score.
    rows[0, 2 * 8 + 3] = [0.5, 0.5, np.log(2), np.log(4), 0.9, 0.8, 0.1]
    rows[0, 2 * 8 + 4] = [-0.5, 0.5, np.log(2), np.log(4), 0.9, 0.7, 0.1]
    # Stride 16, row 1, column 0: of another class. Stride 32, row 1, column 1: a person of 32x32 at (32, 40).
    rows[0, 64 + 1 * 4] = [0.5, 0.5, 0, 0, 1.0, 0.0, 1.0]
    rows[0, 80 + 3] = [0.0, 0.25, 0, 0, 0.5, 0.7, 0.0]
    rows[0, 80] = [0.0, 0.0, 0, 0, 0.5, 0.4, 0.0]  # below the threshold
    image = np.zeros((2 * SIDE, SIDE, 3), np.uint8)  # shrunk by 2
    path = _constant(tmp_path / "yolox.onnx", rows)
    boxes, scores = OnnxDetector(path, LSPET, classes=[0])(image)
    order = np.argsort(-scores)
    np.testing.assert_allclose(boxes[order], [[40, 8, 24, 64], [32, 48, 32, 64]], rtol=1e-6)  # cut at the right edge
    np.testing.assert_allclose(scores[order], [0.72, 0.35], rtol=1e-6)
    _, scores = OnnxDetector(path, LSPET, classes=[0, 1])(image)
    assert sorted(scores.round(2)) == [0.35, 0.72, 1.0]


# A cow at 10, 20, 30, 50 of the input, a near duplicate, a person, and a sheep with a low score.
_CENTRES = np.array([[20, 35, 20, 30], [21, 35, 20, 30], [50, 40, 20, 20], [20, 50, 10, 10]])
_SCORES = np.array([[0.1, 0.8, 0], [0.1, 0.7, 0], [0.9, 0, 0], [0, 0, 0.2]])  # of person, cow, sheep
_METADATA = {"names": "{0: 'Person', 1: 'Cow', 2: 'sheep'}", "task": "detect", "imgsz": f"[{SIDE}, {SIDE}]"}


def _columns(n: int = CELLS) -> np.ndarray:
    output = np.zeros((1, 7, n))
    output[0, :4, :4], output[0, 4:, :4] = _CENTRES.T, _SCORES.T
    return output


def _rows(n: int = 3 * CELLS) -> np.ndarray:
    output = np.zeros((1, n, 8))
    output[0, :4] = np.column_stack([_CENTRES, np.full(4, 0.5), 2 * _SCORES])
    return output


def _final_rows() -> np.ndarray:
    output = np.zeros((1, 9, 6))
    output[0, :4] = np.column_stack(
        [_CENTRES[:, :2] - _CENTRES[:, 2:] / 2, _CENTRES[:, :2] + _CENTRES[:, 2:] / 2, _SCORES.max(1), [1, 2, 0, 2]]
    )
    return output


def test_yolo_boxes_of_each_form(tmp_path):
    """The padding is on both sides, and the image is twice as large as the input."""
    image = np.zeros((2 * SIDE, SIDE, 3), np.uint8)
    forms = {
        "8": (_columns(), {}),
        "p2": (_columns(CELLS + 16 * 16), {}),
        "p6": (_columns(CELLS + 1), {}),
        "5": (_rows(), {}),
        "6": (_rows(CELLS), {}),  # of YOLOX's shape, with sizes in pixels
        "half": (_columns(), {"dtype": np.float16}),
        "dynamic": (_columns(), {"image": ["batch", 3, "height", "width"]}),
        "10": (_final_rows(), {}),  # its second box has another class
    }
    for name, (output, options) in forms.items():
        path = _constant(tmp_path / f"{name}.onnx", output, metadata=_METADATA, **options)
        boxes, scores = OnnxDetector(path, ANIMALPOSE)(image)
        np.testing.assert_allclose(_xyxy(boxes), [[0, 40, 28, 100]], atol=0.02, err_msg=name)  # x: (10 - 16) * 2
        np.testing.assert_allclose(scores, [0.8], atol=1e-3, err_msg=name)


def test_one_fixed_side_is_kept(tmp_path):
    path = _constant(tmp_path / "wide.onnx", _columns(), image=[1, 3, SIDE, "w"], metadata={"imgsz": f"[32, {SIDE}]"})
    boxes, _ = OnnxDetector(path, LSPET, classes=[0])(np.zeros((SIDE, SIDE, 3), np.uint8))
    np.testing.assert_allclose(_xyxy(boxes), [[40, 30, 60, 50]], atol=1e-3)


@pytest.mark.parametrize("size", ["[-5, 64]", "[0, 0]", "[1000000, 1000000]", "640", "[64]", "1+" * 9999 + "1"])
def test_impossible_sizes_in_metadata_are_ignored(tmp_path, size):
    cells = 80 * 80 + 40 * 40 + 20 * 20  # of 640x640
    path = _constant(tmp_path / "any.onnx", _columns(cells), image=["b", "c", "h", "w"], metadata={"imgsz": size})
    boxes, _ = OnnxDetector(path, LSPET, classes=[0])(np.zeros((640, 640, 3), np.uint8))
    np.testing.assert_allclose(_xyxy(boxes), [[40, 30, 60, 50]], atol=1e-3)


def test_yolo_takes_rgb_from_zero_to_one(tmp_path):
    """Each channel's mean is the score of a class."""
    node = onnx.helper.make_node
    nodes = [
        node("ReduceMean", ["image", "axes"], ["means"], keepdims=1),
        node("Reshape", ["means", "shape"], ["scores"]),
        node("Expand", ["scores", "all"], ["expanded"]),
        node("Concat", ["boxes", "expanded"], ["output"], axis=1),
    ]
    constants = {
        "axes": np.array([2, 3]),
        "shape": np.array([1, 3, 1]),
        "all": np.array([1, 3, CELLS]),
        "boxes": np.full((1, 4, CELLS), 8, np.float32),
    }
    path = _save(tmp_path / "yolo.onnx", nodes, {"output": [1, 7, CELLS]}, constants)
    for label in range(3):
        image = np.full((SIDE, SIDE, 3), 51, np.uint8)
        image[:, :, label] = 102
        _, scores = OnnxDetector(path, LSPET, classes=[label], threshold=0.1)(image)
        np.testing.assert_allclose(scores, [0.4], rtol=1e-5)


@pytest.mark.parametrize(("form", "normalized"), [("auto", True), ("rtmdet", True), ("yolox", False)])
def test_rtmdet_takes_bgr_on_grey(tmp_path, form, normalized):
    image = np.full((32, 16, 3), (10, 20, 105), np.uint8)  # blue is 105
    boxes, scores = OnnxDetector(_rtmdet(tmp_path / "rtmdet.onnx"), LSPET, form=form, threshold=-100.0)(image)
    pixels = np.array([105, 114.0])
    expected = ((pixels - 103.53) / 57.375 if normalized else pixels) * 0.1 + 0.5
    order = np.argsort(boxes[:, 0])
    np.testing.assert_allclose(scores[order], expected[::-1], rtol=1e-5)
    np.testing.assert_allclose(boxes[order], [[0.5, 1, 1, 1], [2, 4, 8, 12]])


def test_the_letterbox_keeps_the_aspect():
    image = np.full((10, 30, 3), 200, np.uint8)
    letter, scale, padding = letterbox(image, (SIDE, SIDE))
    assert scale == pytest.approx(SIDE / 30) and letter.shape == (SIDE, SIDE, 3) and padding == (0, 0)
    assert (letter[:21] == 200).all() and (letter[21:] == 114).all()
    letter, _, padding = letterbox(image, (SIDE, SIDE), centred=True)
    assert padding == (0, 21) and (letter[21:42] == 200).all() and (letter[:21] == 114).all()


def test_classes_come_from_the_file(tmp_path):
    """By name in any case, by index, for the model's subject, or the only class."""
    path = _constant(tmp_path / "own.onnx", _columns(), metadata=_METADATA)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for classes, expected in (["Sheep"], [0.2]), (["cow"], [0.8]), ([2], [0.2]), (["2", "0"], [0.9, 0.2]):
        _, scores = OnnxDetector(path, LSPET, classes=classes, threshold=0.15)(image)
        np.testing.assert_allclose(sorted(scores)[::-1], expected, rtol=1e-6)
    only = _constant(tmp_path / "only.onnx", _columns()[:, :5] + 0.1, metadata={"names": "['fish']"})
    assert len(OnnxDetector(only, LSPET, threshold=0.15)(image)[0]) > 0
    fish = _constant(tmp_path / "fish.onnx", _columns(), metadata={"names": "{0: 'net', 1: 'fish', 2: 'boat'}"})
    expected = r"no class is known for the skeleton lspet \(the detector's classes: net, fish, boat\); set --classes"
    with pytest.raises(UserError, match=rf"fish\.onnx: {expected}"):
        OnnxDetector(fish, LSPET)
    with pytest.raises(UserError, match="names 'dog'; expected an index below 3, or one of net, fish, boat"):
        OnnxDetector(fish, LSPET, classes=["dog"])
    twice = _constant(tmp_path / "twice.onnx", _columns(), metadata={"names": "['cow', 'Cow\\n', 'sheep']"})
    assert len(OnnxDetector(twice, LSPET, classes=["cow"])(image)[0]) == 2
    negative = _constant(tmp_path / "negative.onnx", _columns(), metadata={"names": "{-1: 'person', 0: 'cow'}"})
    with pytest.raises(UserError, match="no names"):
        OnnxDetector(negative, LSPET)
    unnamed = _constant(tmp_path / "unnamed.onnx", _columns(), metadata={"names": "no literal"})
    with pytest.raises(UserError, match=r"the detector's classes: no names\)"):
        OnnxDetector(unnamed, LSPET)
    with pytest.raises(UserError, match="names '3'; expected an index below 3$"):
        OnnxDetector(unnamed, LSPET, classes=[3])


def test_boxes_of_other_classes_are_reported(tmp_path, caplog):
    """A file that does not show its classes may have others than COCO's."""
    path = _rtmdet(tmp_path / "rtmdet.onnx")  # gives class 0
    with caplog.at_level(logging.WARNING, logger="absl"):
        detector = OnnxDetector(path, ANIMALPOSE)
        for _ in range(2):
            assert len(detector(np.zeros((SIDE, SIDE, 3), np.uint8))[0]) == 0
    (record,) = caplog.records
    expected = "rtmdet.onnx found the classes 0, but none of 14, 15, 16, 17, 18, 19, 20, 21, 22, 23; if its classes are"
    assert record.getMessage().startswith(expected)


def test_a_file_of_unknown_classes_takes_any_index(tmp_path):
    path = _rtmdet(tmp_path / "rtmdet.onnx")
    for classes, n in (["100"], 0), (["0", "300"], 2), (["person"], 2):
        assert len(OnnxDetector(path, LSPET, classes=classes)(np.zeros((SIDE, SIDE, 3), np.uint8))[0]) == n


def test_a_box_has_its_best_class_only(tmp_path):
    output = _columns()
    output[0, 4:, 0] = [0.0, 0.8, 0.7]  # the cow could be a sheep
    path = _constant(tmp_path / "own.onnx", output, metadata=_METADATA)
    assert len(OnnxDetector(path, LSPET, classes=["sheep"])(np.zeros((SIDE, SIDE, 3), np.uint8))[0]) == 0


def test_other_files_are_refused(tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("no graph", encoding="utf-8")
    with pytest.raises(UserError, match="not an ONNX file that onnxruntime reads"):
        OnnxDetector(text, LSPET)
    nodes = [onnx.helper.make_node("Identity", ["image"], ["output"])]
    other = _save(tmp_path / "other.onnx", nodes, {"output": [1, 3, SIDE, SIDE]}, {})
    with pytest.raises(UserError, match=r"gave \[1, 3, 64, 64\]; expected one image .* the output of YOLO or YOLOX"):
        OnnxDetector(other, LSPET)
    pose = _constant(
        tmp_path / "pose.onnx", np.zeros((1, 56, CELLS)), metadata={"task": "pose", "author": "Ultralytics"}
    )
    with pytest.raises(UserError, match="is a model for the task 'pose'; expected a detector"):
        OnnxDetector(pose, LSPET)
    rtdetr = np.tile([0.5, 0.5, 0.2, 0.3, 0.9, 1.0], (1, 300, 1))  # centres and sizes as fractions of the image
    with pytest.raises(UserError, match=r"gave \[1, 300, 6\]; expected"):
        OnnxDetector(_constant(tmp_path / "rtdetr.onnx", rtdetr), LSPET)
    one_class = np.tile([30.0, 20.0, 40.0, 40.0, 0.9, 0.8], (1, 20, 1))  # YOLOv3-tiny: strides of 16 and 32
    with pytest.raises(UserError, match=r"gave \[1, 20, 6\]; expected"):
        OnnxDetector(_constant(tmp_path / "tiny.onnx", one_class), LSPET)
    with pytest.raises(UserError, match="nosuch.onnx does not exist; give the path"):
        OnnxDetector(tmp_path / "nosuch.onnx", LSPET)
    batch = _constant(tmp_path / "batch.onnx", _columns(), image=[8, 3, SIDE, SIDE])
    with pytest.raises(UserError, match="takes 8 images at once; export it for one"):
        OnnxDetector(batch, LSPET)
    gray = _constant(tmp_path / "gray.onnx", _columns(), image=[1, 1, SIDE, SIDE])
    with pytest.raises(UserError, match=r"takes tensor\(float\)\[1, 1, 64, 64\]; expected one image \[1, 3, h, w\]"):
        OnnxDetector(gray, LSPET)
    with pytest.raises(UserError, match=r"gave \[1, 7, 84\]; expected .* \(--detector=rtmdet; without it, other"):
        OnnxDetector(_constant(tmp_path / "yolo.onnx", _columns()), LSPET, form="rtmdet")
