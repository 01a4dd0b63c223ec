"""The script examples/onnx_minimal.py gives the predictor's results, and explains mistakes."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.config import Config, DataConfig, HeatmapConfig, ModelConfig
from mamkpd_jax.inference.nanodet import FILE as NANODET
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.program import NETWORK

pytest.importorskip("torch")
graphs = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from mamkpd_jax.export.formats import onnx  # noqa: E402 (needs onnx)

_SCRIPT = Path(__file__).parents[2] / "examples" / "onnx_minimal.py"
_CONFIG = Config(
    model=ModelConfig(stem=False, depths=(1, 1), dims=(8, 16), decoder_dim=8),
    data=DataConfig(dataset="synthetic_people", input_hw=(128, 96)),
)
# Runs the script as if nothing else were installed.
_ALONE = """
import runpy, sys
sys.modules |= dict.fromkeys(("mamkpd_jax", "jax", "flax", "torch"))
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _run(*arguments) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", _ALONE, str(_SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def model(random_weights, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    onnx.save(random_weights(_CONFIG), path, NETWORK)
    return path


@pytest.fixture
def picture(shared_data) -> Path:
    return shared_data / "coco_mini" / "000000000785.jpg"


def _differences_px(artifact: Artifact, folder: Path, picture: Path, boxes: list[list[float] | None]) -> np.ndarray:
    """Differences [n, j, 2] between the script's points and the predictor's, for boxes or (None) the whole picture.

    It also asserts that joints and scores are equal.
    """
    onnx.save(artifact, folder / "model.onnx", NETWORK)
    predictor, away = Predictor(artifact, flip_test=False, batch_size=1), []
    for box in boxes:
        done = _run(folder / "model.onnx", picture, *(box or []))
        assert done.returncode == 0, done.stderr
        lines = [line.split() for line in done.stdout.splitlines()]
        (expected,) = predictor(picture, [box] if box else "whole")
        assert [line[0] for line in lines] == list(artifact.skeleton.joints)
        found = np.array([line[1:] for line in lines], np.float64)
        np.testing.assert_allclose(found[:, 2], expected.scores[0], atol=1e-3, rtol=0)
        away.append(np.abs(found[:, :2] - expected.keypoints[0]))
    return np.array(away)


_COCO = "coco_mini/test_coco.json", "coco_mini"


@pytest.mark.parametrize(
    ("name", "codec", "labels", "images"),
    [
        ("people", "dark", *_COCO),
        *(pytest.param("people", codec, *_COCO, marks=pytest.mark.slow) for codec in ("plain", "udp")),
        pytest.param("animals", "dark", "ap10k/test_ap10k.json", "ap10k/images", marks=pytest.mark.slow),
    ],
)
def test_script_equals_predictor_with_shipped_models(tmp_path, shared_data, name, codec, labels, images):
    artifact = read_artifact(name)
    config = dataclasses.replace(artifact.config, head=dataclasses.replace(artifact.config.head, codec=codec))
    content = json.loads((shared_data / labels).read_bytes())
    instance, files = content["annotations"][0], {image["id"]: image["file_name"] for image in content["images"]}
    picture = shared_data / images / files[instance["image_id"]]
    away = _differences_px(dataclasses.replace(artifact, config=config), tmp_path, picture, [instance["bbox"]])
    assert away.max() < 0.01


@pytest.mark.parametrize("codec", ["plain", "dark", "udp"])
def test_script_decodes_peaks_anywhere(tmp_path, random_weights, picture, codec):
    """Random weights give peaks at the edges too, and some so flat that a step magnifies rounding errors.

    In a small picture fewer are flat than in a large one, whose crops are smooth.
    """
    config = dataclasses.replace(_CONFIG, head=HeatmapConfig(codec=codec))
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), cv2.resize(cv2.imread(str(picture)), (128, 85), interpolation=cv2.INTER_AREA))
    for away in _differences_px(random_weights(config), tmp_path, small, [[-7.5, 25, 100, 75], None]):
        assert np.mean(away < 0.01) > 0.75 and away.max() < 1


def test_script_draws_the_pose(model, picture, tmp_path):
    assert _run(model, picture, 280, 44, 218, 346, tmp_path / "drawn.png").returncode == 0
    drawn, original = cv2.imread(str(tmp_path / "drawn.png")), cv2.imread(str(picture))
    changed = (drawn != original).any(axis=2)
    assert drawn.shape == original.shape and 0 < changed.mean() < 0.5


_USAGE = "expected: onnx_minimal.py model.onnx picture.jpg [x y width height] [drawn.png]"
_WITHOUT = ": expected a file of `mamkpd export` without --normalize, --decode and --batch; export it again"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], _USAGE),
        (["{model}"], _USAGE),
        (["{model}", "{picture}", "1", "2", "3"], _USAGE),
        (["{model}", "{model}"], "{model} is not a picture that OpenCV can read; give another"),
        ([str(NANODET), "{picture}"], f"{NANODET}{_WITHOUT}"),
    ],
)
def test_script_explains_mistakes(model, picture, arguments, message):
    names = {"model": model, "picture": picture}
    done = _run(*(argument.format(**names) for argument in arguments))
    assert (done.returncode, done.stderr) == (1, f"{message.format(**names)}\n")


@pytest.mark.parametrize("other", [{"options": {"normalize": True}}, {"options": {"decode": True}}, {"batch": 2}])
def test_script_refuses_other_exports(model, picture, tmp_path, other):
    graph = graphs.load(model)
    about = json.loads(graph.metadata_props[0].value)
    about["options"] |= other.get("options", {})
    graph.metadata_props[0].value = json.dumps(about | {"batch": other.get("batch", 0)})
    graphs.save(graph, tmp_path / "other.onnx")
    done = _run(tmp_path / "other.onnx", picture)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path / 'other.onnx'}{_WITHOUT}\n")


def test_script_has_at_most_sixty_lines():
    assert len(_SCRIPT.read_text(encoding="utf-8").splitlines()) <= 60
