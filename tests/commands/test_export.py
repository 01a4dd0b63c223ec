"""The command `mamkpd export`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from mamkpd_jax.artifact.checkpoints import write_checkpoint
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.config import Config, DataConfig, ModelConfig
from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.data.transforms import TopDownCrop
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.program import Options, program_of
from mamkpd_jax.skeletons import COCO
from tests.artifact.conftest import random_weights

__all__ = ["random_weights"]

_ROOT = Path(__file__).parents[2]
_CONFIG = Config(
    model=ModelConfig(stem=False, depths=(1, 1), dims=(8, 16), decoder_dim=8),
    data=DataConfig(dataset="synthetic_people", input_hw=(64, 48)),
)


def _export(run: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mamkpd_jax", "export", f"--checkpoint={run}", *flags]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)


@pytest.fixture
def run(random_weights, tmp_path) -> Path:
    write_checkpoint(random_weights(_CONFIG), tmp_path / "run")
    return tmp_path / "run"


def test_stablehlo_includes_all_steps(run, tmp_path):
    path = tmp_path / "model.stablehlo"
    done = _export(run, f"--output={path}", "--normalize", "--flip_test", "--decode")
    assert done.returncode == 0 and done.stdout.startswith(f"{path}: step 7, "), done.stderr
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert [(str(x.shape), str(x.dtype)) for x in exported.in_avals] == [("(b, 64, 48, 3)", "uint8")]
    assert [str(x.shape) for x in exported.out_avals] == ["(b, 17, 2)", "(b, 17)"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_onnx_metadata_describes_the_export(run, shared_data, tmp_path, precision):
    onnx, path = pytest.importorskip("onnx"), tmp_path / "model.onnx"
    pytest.importorskip("torch")
    calibration = [f"--calibration={shared_data / 'coco' / 'val2017' / '*.jpg'}"] if precision == "int8" else []
    done = _export(run, f"--output={path}", "--decode", f"--precision={precision}", *calibration)
    assert done.returncode == 0 and done.stderr == "", done
    # The detector may miss a person on another processor.
    reported = r"calibration: 256 crops of 15\d of 171 pictures\n" if calibration else ""
    assert re.match(f"{reported}{re.escape(str(path))}: step 7, ", done.stdout)
    about = json.loads({entry.key: entry.value for entry in onnx.load(path).metadata_props}["mamkpd"])
    assert about["options"] == {"normalize": False, "flip_test": False, "decode": True}
    assert about["precision"] == precision and about["step"] == 7


def test_decoded_points_lead_back_to_the_picture(run, shared_data):
    """The formula in docs/export.md maps points in pixels of the crop to the predictor's points."""
    picture, (x, y, width, height) = shared_data / "coco_mini" / "000000000785.jpg", (280.0, 44.0, 218.0, 346.0)
    predictor = Predictor.from_pretrained(run, flip_test=False, batch_size=1)
    (expected,) = predictor(picture, [[x, y, width, height]])
    about = read_artifact(run)
    decoded = program_of(about, Options(flip_test=False))(predictor.crops(picture, [[x, y, width, height]]).images)[0]
    h, w = about.config.data.input_hw
    padding = about.description()["box_padding"]
    crop_width, crop_height = padding * max(width, height * w / h), padding * max(height, width * h / w)
    left = x + width / 2 + (decoded[0, :, 0] - w / 2) * crop_width / w
    top = y + height / 2 + (decoded[0, :, 1] - h / 2) * crop_height / h
    np.testing.assert_allclose(np.stack([left, top], axis=1), expected.keypoints[0], atol=1e-3)


@pytest.mark.parametrize("as_opencv", [False, True])
@pytest.mark.parametrize("less", [0, 1])
@pytest.mark.parametrize(
    "box",
    [
        (280.0, 44.0, 218.0, 346.0),
        (-40.0, 200.0, 120.0, 300.0),
        (330.0, 90.0, 60.0, 80.0),
        (300.0, 60.0, 140.0, 200.0),
        (90.0, 9.0, 300.0, 410.0),
    ],
)
def test_crops_are_sampled_as_documented(shared_data, box, less, as_opencv):
    """The formulas in docs/export.md give the same crops: bilinear, with means if the image shrinks, black outside."""
    image, (h, w) = decode_image((shared_data / "coco_mini" / "000000000785.jpg").read_bytes()), (128, 96)
    (crop,), _ = TopDownCrop(input_hw=(h, w), skeleton=COCO, udp=bool(less)).of_boxes(image, np.array([box]))
    x, y, width, height = box
    step_x = 1.25 * max(width, height * w / h) / (w - less)
    step_y = 1.25 * max(height, width * h / w) / (h - less)
    n = min(max(1, round(np.sqrt(step_x * step_y))), 8)
    px = x + width / 2 + ((np.arange(n * w) - (n - 1) / 2) / n - (w - less) / 2) * step_x
    py = y + height / 2 + ((np.arange(n * h) - (n - 1) / 2) / n - (h - less) / 2) * step_y
    if as_opencv:
        along = np.rint(1024 * np.arange(n * w) * step_x / n)
        px, py = (np.floor((places + 16) / 32) / 32 for places in (along + np.rint(1024 * px[0]), np.rint(1024 * py)))
    at = np.meshgrid(py, px, indexing="ij")
    channels = [map_coordinates(image[..., c].astype(float), at, order=1, mode="grid-constant") for c in range(3)]
    samples = np.floor(np.stack(channels, axis=-1) + 0.5)
    means = samples.reshape(h, n, w, n, 3).mean(axis=(1, 3))
    difference = np.abs((np.floor(means + 0.5) if n == 2 else np.rint(means)) - crop)
    assert difference.max() <= 4 and crop.std() > 30
    assert np.mean(difference > 0) < (0.001 if as_opencv else 0.2)


def test_existing_folders_are_refused_before_the_work(run, tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "model.onnx").mkdir()
    done = _export(run, f"--output={tmp_path / 'model.onnx'}", "--precision=int8", f"--calibration={tmp_path}")
    assert done.stderr == (
        f"error: {tmp_path / 'model.onnx'} is a folder; give --output the name of a file, or of a new folder\n"
    )


def test_help_names_pixels_of_the_crop(run):
    printed = " ".join(_export(run, "--help").stdout.split())
    assert "Give points in pixels of the crop and scores" in printed and "1.25 times the box's width" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output={new}.stablehlo", "--precision=int8"], "error: --precision=int8: "),
        (["--output={new}.onnx", "--precision=int8"], "error: --precision=int8 needs --calibration, pictures like "),
        (
            ["--output={new}", "--web", "--precision=int8"],
            "error: --precision=int8 needs --calibration, pictures like ",
        ),
        (
            ["--output={new}.onnx", "--calibration=."],
            "error: --calibration has no effect on fp32; leave it out, or export .onnx in int8",
        ),
        (
            ["--output={new}.onnx", "--precision=int8", "--calibration={new}"],
            "model: no picture found; give a picture, a folder or a glob",
        ),
        (["--output={new}.onnx", "--batch=-1"], "error: flag --batch=-1: "),
        (["--output={new}.stablehlo", "--batch=two"], "error: flag --batch=two: "),
        (
            ["--output={new}.engine"],
            "error: the suffix of --output, none for a folder, is 'engine'; expected one of onnx, stablehlo",
        ),
    ],
)
def test_mistakes_print_one_line(run, tmp_path, flags, message):
    if any("calibration" in text for text in (message, *flags)):
        pytest.importorskip("onnx")
    done = _export(run, *(flag.format(new=tmp_path / "model") for flag in flags))
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("model*"))
