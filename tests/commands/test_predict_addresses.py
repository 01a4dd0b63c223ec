"""`mamkpd predict` with a picture at an address, from a server on this machine."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.inference.conftest import config, random_weights, workdir
from tests.inference.streams import http_server

__all__ = ["config", "random_weights", "workdir"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(workdir):
    """Runs the program with each picture as one box; returns its exit status, output and errors."""

    def start(*flags: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "mamkpd_jax", "predict", f"--checkpoint={workdir}", "--boxes=whole", *flags]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    return start


@pytest.fixture
def address(shared_data, tmp_path):
    """The address of a folder with a photo."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copy(shared_data / "coco_mini" / "000000000785.jpg", folder / "a photo.jpg")
    with http_server(folder) as address:
        yield address


def test_an_address_is_predicted_as_a_file(run, address, shared_data, tmp_path):
    status, printed, errors = run(f"--input={address}/a%20photo.jpg?size=large", f"--output={tmp_path / 'web'}")
    assert status == 0, errors
    assert printed.startswith(f"{tmp_path / 'web' / 'downloads' / 'a_photo.jpg'}: 1 person found")
    file = shared_data / "coco_mini" / "000000000785.jpg"
    assert (tmp_path / "web" / "downloads" / "a_photo.jpg").read_bytes() == file.read_bytes()
    assert cv2.imread(str(tmp_path / "web" / "pictures" / "a_photo.jpg")).shape == (425, 640, 3)
    [pose] = json.loads((tmp_path / "web" / "results.json").read_bytes())
    assert pose["file_name"] == "a_photo.jpg"
    assert run(f"--input={file}", f"--output={tmp_path / 'file'}")[0] == 0
    [expected] = json.loads((tmp_path / "file" / "results.json").read_bytes())
    assert (pose["keypoints"], pose["score"]) == (expected["keypoints"], expected["score"])


def test_offline_refuses_addresses_and_nothing_is_left(run, address, tmp_path):
    for path, flags, reason in (
        ("/a%20photo.jpg", ["--offline"], "is a network address, and --offline is set; give a local file"),
        ("/none.jpg", [], "can't be downloaded: the server answers 404 (File not found)"),
    ):
        status, _, errors = run(f"--input={address}{path}", f"--output={tmp_path / 'out'}", *flags)
        assert status == 1 and errors.splitlines()[-1].endswith(f"{address}{path} {reason}"), errors
        assert errors.splitlines()[-1].startswith("error: ") and not (tmp_path / "out").exists()


def test_offline_predicts_files_and_downloads_no_model(run, shared_data, tmp_path):
    photo = shared_data / "coco_mini" / "000000000785.jpg"
    status, _, errors = run(f"--input={photo}", f"--output={tmp_path / 'out'}", "--offline", "--nodraw")
    assert status == 0, errors
    pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
    status, _, errors = run(f"--input={photo}", "--checkpoint=hf://owner/none", "--offline")
    assert status == 1 and "hf://owner/none can't be downloaded" in errors.splitlines()[-1]
    assert "offline" in errors.splitlines()[-1].lower() or "cache" in errors.splitlines()[-1], errors
