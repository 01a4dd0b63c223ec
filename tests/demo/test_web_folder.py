"""The folder that `mamkpd export --web` writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.web_demo import web_demo

__all__ = ["web_demo"]

pytest.importorskip("torch", reason="the extra `onnx` is not installed")

from mamkpd_jax.demo import web_folder
from mamkpd_jax.inference import nanodet

_ROOT = Path(__file__).parents[2]


def _export(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mamkpd_jax", "export", "--web", *flags]
    variables = os.environ | {"PYTHONPATH": str(_ROOT), "JAX_PLATFORMS": "cpu"} | environment
    return subprocess.run(command, env=variables, capture_output=True, text=True)


def test_the_folder_has_every_listed_file(web_demo):
    about = json.loads((web_demo.folder / "models.json").read_text(encoding="utf-8"))
    assert [model["name"] for model in about["models"]] == ["people", "animals"]
    assert about["models"][0]["classes"] == [0] and len(about["models"][1]["classes"]) == 10
    assert about["models"][1]["input_hw"] == [128, 128] and "left_eye" in about["models"][1]["keypoints"]
    for file in (about["detector"]["file"], *(model["file"] for model in about["models"]), "index.html", "NOTICE.txt"):
        assert (web_demo.folder / file).stat().st_size > 1000, file
    assert {path.suffix for path in (web_demo.folder / "ort").iterdir()} == {".mjs", ".wasm"}
    assert [path.name for path in web_demo.folder.parent.iterdir()] == ["demo"]


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        (
            ["--output={new}"],
            {"PATH": "/none"},
            "error: npm is not installed, and --web takes onnxruntime-web from it;",
        ),
        (
            ["--output={new}"],
            {
                "npm_config_registry": "http://127.0.0.1:9",
                "npm_config_cache": "{new}-cache",
                "npm_config_fetch_retries": "0",
            },
            "error: npm could not download onnxruntime-web 1.30.0 (npm error code ECONNREFUSED); check the network",
        ),
        (["--output={old}"], {}, "error: {old} already exists; give a new folder"),
        (["--output={new}", "--checkpoint=people,people"], {}, "error: --checkpoint has two models called people;"),
        (
            ["--output={new}", "--checkpoint=,"],
            {},
            "error: --checkpoint=, names no model; expected names such as people,animals",
        ),
        (["--output={new}", "--batch=2"], {}, "error: --batch has no effect with --web; leave it out"),
        (["--output={new}", "--precision=int4"], {}, "error: --precision=int4: {new} can have fp32, fp16, int8;"),
    ],
)
def test_mistakes_get_one_line(tmp_path, flags, environment, message):
    names = {"new": tmp_path / "new", "old": tmp_path}
    variables = {name: value.format(**names) for name, value in environment.items()}
    done = _export(*(flag.format(**names) for flag in flags), **variables)
    assert done.returncode == 1 and done.stderr.startswith(message.format(**names)), done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "new").exists()
    assert not list(tmp_path.glob("*.partial"))


def test_a_damaged_download_is_refused(tmp_path):
    """A fake npm downloads zeros."""
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text('#!/bin/sh\nhead -c 9999 /dev/zero > "$5/onnxruntime-web-1.30.0.tgz"\n', encoding="utf-8")
    npm.chmod(0o755)
    done = _export(f"--output={tmp_path / 'new'}", PATH=f"{npm.parent}:{os.environ['PATH']}")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: npm downloaded a damaged onnxruntime-web 1.30.0; run `npm cache clean")
    assert not list(tmp_path.glob("new*"))


@pytest.mark.usefixtures("web_demo")  # skips without its requirements
def test_odd_model_names_get_separate_files(random_weights, config, tmp_path):
    """Names that differ only in characters that are replaced, and the detector's name."""
    names = ["a horse", "a+horse", "nanodet_g"]
    models = {name: random_weights(config) for name in names}
    web_folder.save(models, tmp_path / "demo")
    about = json.loads((tmp_path / "demo" / "models.json").read_text(encoding="utf-8"))
    assert [model["name"] for model in about["models"]] == names
    assert [model["file"] for model in about["models"]] == ["a-horse.onnx", "1-a-horse.onnx", "2-nanodet_g.onnx"]
    assert (tmp_path / "demo" / "nanodet_g.onnx").read_bytes() == nanodet.FILE.read_bytes()
    assert about["models"][0]["sides"][:3] == ["", "left", "right"]  # of COCO's nose and eyes
