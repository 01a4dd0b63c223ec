"""Prediction from exported ONNX files equals JAX, whatever the files were exported with."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.artifact.checkpoints import read_checkpoint
from mamkpd_jax.artifact.reading import check_suffix, read_artifact
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.nanodet import FILE as NANODET
from mamkpd_jax.inference.onnx_session import open_session
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.program import NETWORK, Options
from mamkpd_jax.skeletons import LSPET
from tests.inference.conftest import BATCH

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

from mamkpd_jax.export.formats import onnx as onnx_format  # noqa: E402 (needs onnx)

# The first four cover all pairs of values of the three options.
_ALL_OPTIONS = [(1, 1, 1), (0, 0, 1), (1, 0, 0), (0, 1, 0), (0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]
_POINTS, _HEATMAPS = (0, 0, 1), (1, 0, 0)


@pytest.fixture(scope="session")
def exported(workdir, predictor, pictures, tmp_path_factory):
    """The model of `workdir`, exported with (normalize, flip_test, decode); each file is written once."""
    folder, artifact = tmp_path_factory.mktemp("exported"), read_checkpoint(workdir)
    crops = np.concatenate([predictor.crops(path, boxes).images for path, boxes in pictures])

    def export(normalize: int, flip_test: int, decode: int, precision: str = "fp32") -> Path:
        path = folder / f"{normalize}{flip_test}{decode}{precision}.onnx"
        if not path.exists():
            options = Options(normalize=bool(normalize), flip_test=bool(flip_test), decode=bool(decode))
            onnx_format.save(artifact, path, options, precision, calibration=crops if precision == "int8" else None)
        return path

    return export


@pytest.fixture(scope="session")
def with_flip_test(workdir) -> Predictor:
    return Predictor.from_pretrained(workdir, flip_test=True, batch_size=BATCH)


def _same(predictor: Predictor, expected: Predictor, pictures) -> None:
    files, boxes = zip(*pictures, strict=True)
    found = predictor(files, boxes)
    for a, b in zip(found, expected(files, boxes), strict=True):
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-3)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
    assert sum(map(len, found)) == 14


def _changed(path: Path, target: Path, *, batch: int | None = None, **fields) -> Path:
    """Writes a copy with a static batch size, or with other fields in its description."""
    model = onnx.load(path)
    (entry,) = (entry for entry in model.metadata_props if entry.key == "mamkpd")
    entry.value = json.dumps(json.loads(entry.value) | fields)
    if batch:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = batch
    onnx.save(model, target)
    return target


@pytest.mark.parametrize(
    "options", [*_ALL_OPTIONS[:4], *(pytest.param(rest, marks=pytest.mark.slow) for rest in _ALL_OPTIONS[4:])]
)
def test_points_equal_those_of_jax(exported, options, predictor, with_flip_test, pictures):
    in_file = Predictor.from_pretrained(exported(*options), batch_size=BATCH)
    assert in_file.config.eval.flip_test == bool(options[1])
    _same(in_file, with_flip_test if options[1] else predictor, pictures)


@pytest.mark.parametrize(
    "options", [_POINTS, _HEATMAPS, *(pytest.param(rest, marks=pytest.mark.slow) for rest in _ALL_OPTIONS[3:])]
)
def test_points_in_openvino_equal_those_of_jax(exported, options, predictor, with_flip_test, pictures):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    in_file = Predictor.from_pretrained(exported(*options), batch_size=BATCH, runtime="openvino")
    _same(in_file, with_flip_test if options[1] else predictor, pictures)


def test_openvino_takes_a_static_batch(exported, predictor, pictures, tmp_path):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    path = _changed(exported(*_POINTS), tmp_path / "model.onnx", batch=3)
    static = Predictor.from_pretrained(path, batch_size=8, runtime="openvino")
    assert static.batch_size == 3
    _same(static, predictor, pictures)
    assert static.weights_digest() != Predictor(path).weights_digest()


def test_wrong_runtimes_are_refused(exported, workdir, tmp_path):
    with pytest.raises(UserError, match="the runtime is 'tflite'; expected one of onnxruntime, openvino"):
        Predictor.from_pretrained(exported(*_POINTS), runtime="tflite")
    with pytest.raises(UserError, match="the runtime 'openvino' is for .onnx files; export the model"):
        Predictor.from_pretrained(workdir, runtime="openvino")


def test_openvino_refuses_other_files(tmp_path):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    (tmp_path / "damaged.onnx").write_bytes(NANODET.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"d\.onnx is damaged or not an ONNX file that OpenVINO reads; copy it again"):
        Predictor(tmp_path / "damaged.onnx", runtime="openvino")
    with pytest.raises(UserError, match="nanodet_g.onnx"):
        Predictor(NANODET, runtime="openvino")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["people", "animals"])
def test_shipped_models_equal_those_of_jax(name, pictures, shared_data, tmp_path):
    if name == "animals":
        folder = shared_data / "ap10k"
        content = json.loads((folder / "test_ap10k.json").read_bytes())
        files = {image["id"]: next(folder.rglob(image["file_name"])) for image in content["images"]}
        pictures = [(files[a["image_id"]], np.array([a["bbox"]])) for a in content["annotations"]]
    files, boxes = zip(*pictures, strict=True)
    expected = Predictor.from_pretrained(name, flip_test=True, batch_size=4)(files, boxes)
    for options in (Options(), NETWORK):
        onnx_format.save(read_artifact(name), tmp_path / "model.onnx", options)
        in_file = Predictor.from_pretrained(tmp_path / "model.onnx", flip_test=True)
        for a, b in zip(expected, in_file(files, boxes), strict=True):
            assert len(a) and np.abs(a.keypoints - b.keypoints).max() < 1e-3


def test_the_flip_test_is_added_around_heatmaps(exported, with_flip_test, pictures):
    added = Predictor.from_pretrained(exported(*_HEATMAPS), flip_test=True, batch_size=BATCH)
    assert added.config.eval.flip_test
    _same(added, with_flip_test, pictures)


def test_impossible_flip_tests_are_refused(exported):
    with pytest.raises(UserError, match="without the flip test, which can't be added to points; export it with"):
        Predictor.from_pretrained(exported(*_POINTS), flip_test=True)
    with pytest.raises(UserError, match="with the flip test, which can't be left out; export it without"):
        Predictor.from_pretrained(exported(0, 1, 0), flip_test=False)


def test_heatmaps_equal_those_of_jax(exported, predictor, pictures):
    path, boxes = pictures[2]
    expected, found = predictor.heatmaps(path, boxes), Predictor(exported(*_HEATMAPS)).heatmaps(path, boxes)
    np.testing.assert_allclose(found.heatmaps, expected.heatmaps, atol=1e-5)
    np.testing.assert_allclose(found.result.keypoints, expected.result.keypoints, atol=1e-3)


def test_files_with_points_have_blank_heatmaps(exported, predictor, pictures):
    path, boxes = pictures[2]
    found = Predictor(exported(*_POINTS)).heatmaps(path, boxes)
    assert found.heatmaps.shape == (len(boxes), 1, 1, 17) and not found.heatmaps.any()
    np.testing.assert_allclose(found.result.keypoints, predictor(path, boxes)[0].keypoints, atol=1e-3)


@pytest.mark.parametrize("options", [_POINTS, _HEATMAPS])
def test_a_static_batch_is_padded_and_split(exported, options, predictor, pictures, tmp_path):
    path = _changed(exported(*options), tmp_path / "model.onnx", batch=3)
    static = Predictor.from_pretrained(path, batch_size=8)
    assert static.batch_size == 3
    _same(static, predictor, pictures)
    path, boxes = pictures[2]
    heatmaps = static.heatmaps(path, boxes)
    np.testing.assert_allclose(heatmaps.result.keypoints, predictor(path, boxes)[0].keypoints, atol=1e-3)
    assert len(heatmaps.heatmaps) == len(boxes) % 3 + 3 * (len(boxes) // 3)


def test_pictures_without_boxes_have_no_poses(exported, pictures):
    in_file = Predictor.from_pretrained(exported(*_HEATMAPS))
    first, none = in_file([pictures[0][0], pictures[1][0]], ["whole", []])
    assert len(first) == 1 and len(none) == 0
    assert len(in_file.heatmaps(pictures[0][0], []).heatmaps) == 0


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.02), ("int8", 0.1)])
def test_files_of_lower_precision_run(exported, predictor, pictures, precision, tolerance):
    path, boxes = pictures[2]
    expected = predictor.heatmaps(path, boxes).heatmaps
    found = Predictor.from_pretrained(exported(*_HEATMAPS, precision)).heatmaps(path, boxes).heatmaps
    assert 0 < np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def test_the_digest_depends_on_the_file(exported, tmp_path):
    one, copy, other = exported(*_POINTS), tmp_path / "copy.onnx", exported(*_HEATMAPS)
    copy.write_bytes(one.read_bytes())
    digests = [Predictor.from_pretrained(path).weights_digest() for path in (one, copy, other)]
    assert digests[0] == digests[1] != digests[2]


def test_a_batcher_runs_a_file(exported, predictor, pictures):
    path, boxes = pictures[2]
    expected = predictor(path, boxes)[0].keypoints
    for options, size_hw in ((_POINTS, (1, 1)), (_HEATMAPS, (32, 24))):
        in_file = Predictor.from_pretrained(exported(*options), batch_size=BATCH)
        batcher, crops = in_file.batcher(max_wait_ms=0.0), in_file.crops(path, boxes)
        found = [future.result() for future in batcher.submit(crops.images, maps=True)]
        batcher.close()
        result = in_file.result(crops, [(each.points, each.scores) for each in found])
        np.testing.assert_allclose(result.keypoints, expected, atol=1e-3)
        assert {each.maps.shape for each in found} == {(*size_hw, 17)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"",
            "is damaged or not an ONNX file that onnxruntime reads (No graph was found in the protobuf.); "
            "copy it again",
        ),
        (b"a text", "is damaged or not an ONNX file that onnxruntime reads (Protobuf parsing failed.); copy it again"),
        (
            NANODET.read_bytes(),
            "has no description of its model under the key 'mamkpd'; give a file of `mamkpd export`",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(UserError, match=f"{re.escape(f'{tmp_path}/model.onnx {message}')}[^\n]*$"):
        Predictor.from_pretrained(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"step": -1}, "has no model that this package can use: the step is -1"),
        ({"options": {"normalize": True}}, "expected true or false for normalize, flip_test, decode: export it again"),
        (
            {"options": {"normalize": True, "flip_test": False, "decode": True}},
            "expected by its description ('tensor(uint8)', [64, 48, 3]) after the batch, and ['points', 'scores'] of",
        ),
    ],
)
def test_descriptions_of_other_graphs_are_refused(exported, tmp_path, fields, message):
    path = _changed(exported(*_HEATMAPS), tmp_path / "model.onnx", **fields)
    with pytest.raises(UserError, match=re.escape(message)):
        Predictor.from_pretrained(path)


@pytest.mark.parametrize("options", [_POINTS, _HEATMAPS])
def test_descriptions_of_other_joints_are_refused(exported, options, tmp_path):
    path = _changed(exported(*options), tmp_path / "model.onnx", skeleton=dataclasses.asdict(LSPET))
    with pytest.raises(UserError, match=r"\['batch', 17.* of 14 joints: export it again$"):
        Predictor.from_pretrained(path)


def test_files_of_other_suffixes_are_refused(tmp_path):
    (tmp_path / "model.ort").touch()
    with pytest.raises(UserError, match=r"nor one of \.safetensors, \.pth, \.pt, \.onnx$"):
        Predictor.from_pretrained(tmp_path / "model.ort")


def test_a_missing_onnxruntime_is_named(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="files need `pip install onnxruntime`"):
        open_session(exported(*_POINTS))


def test_run_options_and_other_uses_are_refused(exported):
    path = exported(*_POINTS)
    for options in ({"best": True}, {"ema": False}):
        with pytest.raises(UserError, match="leave out --(best|noema), which only runs take"):
            Predictor.from_pretrained(path, **options)
    for use in (read_artifact, check_suffix):
        with pytest.raises(UserError, match="is an exported file, which only `mamkpd predict`, `mamkpd serve` and"):
            use(path)
