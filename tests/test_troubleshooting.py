"""The messages that docs/troubleshooting.md quotes are those that the commands print."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
_SECTIONS = re.split(r"^##+ ", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), flags=re.M)[1:]
# The quoted message of each section that has one.
MESSAGES = {
    section.splitlines()[0]: block[1].strip()
    for section in _SECTIONS
    if (block := re.search(r"^```text\n(.+?)^```$", section, re.M | re.S))
}
_TRAIN = ("train", "--config=quickstart", "--workdir=runs/new")
COMMANDS = {
    "No picture is found": ("predict", "--input=photos"),
    "A picture can't be read": ("predict", "--input=*.jpg"),
    "No people are found": ("predict", "--input=wall.png"),
    "The model is unknown": ("predict", "--input=wall.png", "--checkpoint=humans"),
    "A file can't be downloaded": ("predict", "--input=http://localhost:9/p.jpg"),
    "The weights are damaged": ("predict", "--input=wall.png", "--checkpoint=model.safetensors"),
    "The annotation file has another form": ("check-data", "--annotations=list.json", "--images=."),
    "The keypoints have no names": ("check-data", "--annotations=labels.json", "--images=."),
    "The labels have another skeleton": ("check-data", "--annotations=boxes.json", "--images=.", "--skeleton=coco"),
    "The model finds other keypoints": ("predict", "--input=wall.png", "--boxes=boxes.json"),
    "The image folder is missing": ("finetune", "--annotations=labels.json", "--images=photos"),
    "The data set is missing": ("train", "--config=coco_base", "--workdir=runs/new"),
    "A config field is unknown": (*_TRAIN, "--config.optim.lerning_rate=1e-3"),
    "The starting weights are of another model": (*_TRAIN, "--config.init_from=people"),
    "The port is in use": ("serve", "--port=8000"),
}
# Why a message is not compared here.
ELSEWHERE = {
    "Python is too old": "it needs an old Python",
    "No wheel of JAX": "it needs another system",
    "libGL is missing": "it needs a system without the library",
    "An optional package is missing": "the tests have all of them",
    "The first start is slow": "tests/test_compilation_cache.py has it",
    "The GPU is not used": "it needs a GPU, and JAX without CUDA",
    "CUDA can't be initialised": "it needs a GPU, and another CUDA",
    "HEIC pictures are left out": "tests/inference/test_images.py has it",
    "Out of memory": "tests/test_cli.py has it",
    "The batch is larger than the data set": "tests/training/test_remarks.py has it",
    "Another training uses the run directory": "tests/training/test_lock.py has it",
    "The run directory has another run": "it needs a trained run",
    "The loss is not finite": "tests/test_interruptions.py has it",
    "The disk is full": "tests/artifact/test_checkpoints.py has it",
    "A checkpoint is damaged": "tests/artifact/test_checkpoints.py has it",
}


def test_every_message_has_its_command():
    assert set(MESSAGES) == set(COMMANDS) | set(ELSEWHERE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with what the commands read."""
    folder = tmp_path_factory.mktemp("troubleshooting")
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    (folder / "broken.jpg").write_bytes(cv2.imencode(".jpg", noise)[1].tobytes()[:3000])
    (folder / "note.jpg").write_text("hello\n")
    cv2.imwrite(str(folder / "wall.png"), np.full((300, 400, 3), 200, np.uint8))
    (folder / "list.json").write_text("[]")
    labels = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "bird"}]}
    (folder / "labels.json").write_text(json.dumps(labels))
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
    boxes = {
        "images": [{"id": 1, "file_name": "wall.png"}],
        "annotations": [box],
        "categories": [{"id": 1, "name": "bird", "keypoints": ["beak", "tail"]}],
    }
    (folder / "boxes.json").write_text(json.dumps(boxes))
    weights = (ROOT / "mamkpd_jax" / "weights" / "people.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:4000])
    return folder


@pytest.fixture
def _port():
    with socket.socket() as server:
        try:
            server.bind(("127.0.0.1", 8000))
            server.listen()
        except OSError:
            pass  # another program uses it, which does as well
        yield


@pytest.mark.slow
@pytest.mark.parametrize("section", COMMANDS)
def test_message_is_printed(section, folder, _port):
    command = [sys.executable, "-m", "mamkpd_jax", *COMMANDS[section]]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    printed = done.stdout + done.stderr
    for line in MESSAGES[section].splitlines():
        # Times differ from run to run.
        pattern = re.sub(r"\d+\\\.\d+\\ s$", r"\\d+\\.\\d+\\ s", re.escape(line))
        assert re.search(pattern, printed), f"{line}\nis not in\n{printed}"
