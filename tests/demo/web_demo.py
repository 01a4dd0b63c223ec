"""The web demo in a folder, on two local static servers."""

import contextlib
import dataclasses
import http.server
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import static_server

_ROOT = Path(__file__).parents[2]


# Wraps onnxruntime-web's script.
_LOGGING_RUNTIME = """
import * as ort from "./runtime.mjs";
export * from "./runtime.mjs";
const create = ort.InferenceSession.create.bind(ort.InferenceSession);
ort.InferenceSession.create = async (...options) => {
  const session = await create(...options);
  const run = session.run.bind(session);
  session.run = (feeds) => {
    console.log("ran", Object.values(feeds)[0].dims.join("x"));
    return run(feeds);
  };
  return session;
};
"""


@dataclasses.dataclass(frozen=True)
class WebDemo:
    folder: Path
    url: str
    isolated_url: str  # the same files with the headers that allow threads


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


class _IsolatedHandler(_Handler):
    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


def copy(web_demo: WebDemo, folder: Path) -> Path:
    """A copy of the demo, of hard links. Tests must unlink a file before they change it."""
    return Path(shutil.copytree(web_demo.folder, folder / "copy", copy_function=os.link))


def log_runs(folder: Path) -> None:
    """Makes a copy of the demo log each model run to the console, with its input shape."""
    script = folder / "ort" / "ort.wasm.min.mjs"
    script.rename(script.with_name("runtime.mjs"))
    script.write_text(_LOGGING_RUNTIME, encoding="utf-8")


def serve(folder: Path, *, isolated: bool = False) -> contextlib.AbstractContextManager[str]:
    """Serves a folder; yields its address."""
    return static_server.serve(folder, _IsolatedHandler if isolated else _Handler)


@pytest.fixture(scope="session")
def web_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDemo]:
    """What `mamkpd export --web` writes, served."""
    for module in ("torch", "onnx"):
        pytest.importorskip(module, reason="the extra `onnx` is not installed")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("web") / "demo"
    command = [sys.executable, "-m", "mamkpd_jax", "export", "--web", f"--output={folder}"]
    environment = os.environ | {"PYTHONPATH": str(_ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with serve(folder) as url, serve(folder, isolated=True) as isolated_url:
        yield WebDemo(folder, url, isolated_url)
