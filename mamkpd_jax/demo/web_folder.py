"""Writes the demo as a folder of static files: the browser itself runs the models, with onnxruntime-web."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import mamkpd_jax
from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.data.transforms import BOX_PADDING
from mamkpd_jax.demo.description import describe_keypoints
from mamkpd_jax.errors import UserError
from mamkpd_jax.export.formats import onnx
from mamkpd_jax.files import atomic_folder
from mamkpd_jax.inference import nanodet
from mamkpd_jax.inference.detector_classes import subject_of
from mamkpd_jax.program import Options

_HERE = Path(__file__).parent
_RUNTIME, _VERSION = "onnxruntime-web", "1.30.0"
_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # of npm's package
_RUNTIME_FILES = (
    *("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    *("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
)
_NOTICE = f"""
ort/
    onnxruntime-web {_VERSION}, Copyright (c) Microsoft Corporation, licensed under the MIT License (the text above).
"""


def save(
    models: Mapping[str, Artifact],
    folder: Path,
    *,
    flip_test: bool = False,
    precision: str = "fp32",
    calibrate: Callable[[Artifact], np.ndarray] | None = None,
) -> None:
    """Writes the page, the models and the detector as ONNX, and onnxruntime-web's files to a new folder.

    Args:
        models: by the names that the page shows; the first is the page's default.
        flip_test: whether the models apply the flip test.
        precision: the models' precision, as in `onnx.save`.
        calibrate: for int8, returns the calibration crops for a model, as in `onnx.save`.

    Raises:
        UserError: the folder exists, or npm is missing or fails, or what it downloaded is damaged.
    """
    if folder.exists():
        raise UserError(f"{folder} already exists; give a new folder")
    with atomic_folder(folder) as partial:
        _fetch_runtime(partial / "ort")
        for source in (_HERE / "page", _HERE / "web"):  # the second replaces backend.js, which asks a server
            shutil.copytree(source, partial, dirs_exist_ok=True)
        shutil.copy(nanodet.FILE, partial)
        notice = nanodet.FILE.with_name("NOTICE").read_text(encoding="utf-8")
        (partial / "NOTICE.txt").write_text(notice + _NOTICE, encoding="utf-8")
        described = []
        for i, (name, artifact) in enumerate(models.items()):
            file = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}.onnx"
            if (partial / file).exists():  # the detector's, or that of a similar name
                file = f"{i}-{file}"
            crops = calibrate(artifact) if calibrate else None
            onnx.save(artifact, partial / file, Options(flip_test=flip_test), precision, calibration=crops)
            described.append({"name": name, "file": file, **_description(artifact)})
        detector = {"file": nanodet.FILE.name, **nanodet.parameters()}
        about = {"version": mamkpd_jax.__version__, "detector": detector, "models": described}
        (partial / "models.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _description(artifact: Artifact) -> dict[str, Any]:
    """The description of a model for the page."""
    subject = subject_of(artifact.skeleton)
    return {
        "input_hw": artifact.config.data.input_hw,
        "box_padding": BOX_PADDING,
        "udp": artifact.config.head.udp,
        "classes": None if subject is None else list(subject.values()),  # None: the whole picture is the box
        **describe_keypoints(artifact.skeleton),
    }


def _fetch_runtime(folder: Path) -> None:
    """Downloads onnxruntime-web's npm package, and writes the files that the page needs to a new folder."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"npm is not installed, and --web takes {_RUNTIME} from it; install Node.js, which has npm")
    with tempfile.TemporaryDirectory() as temporary:
        command = [npm, "pack", f"{_RUNTIME}@{_VERSION}", "--prefer-offline", "--pack-destination", temporary]
        done = subprocess.run(command, capture_output=True, text=True)
        package = Path(temporary) / f"{_RUNTIME}-{_VERSION}.tgz"
        if done.returncode or not package.is_file():
            reason = (done.stderr.splitlines() or ["no reason given"])[0]
            raise UserError(f"npm could not download {_RUNTIME} {_VERSION} ({reason}); check the network, then retry")
        if base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode() != _SHA512:
            raise UserError(
                f"npm downloaded a damaged {_RUNTIME} {_VERSION}; run `npm cache clean --force`, then retry"
            )
        folder.mkdir()
        with tarfile.open(package) as archive:
            for name in _RUNTIME_FILES:
                source = archive.extractfile(f"package/dist/{name}")
                assert source is not None  # the package's digest was checked
                (folder / name).write_bytes(source.read())
