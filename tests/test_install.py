"""The package in new environments: with requirements.txt alone, and with each extra alone."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest

from mamkpd_jax.artifact.checkpoints import read_checkpoint
from mamkpd_jax.program import Options

ROOT = Path(__file__).resolve().parents[1]
# Prefixes of environment variables that a user has not set.
_OF_TESTS = ("COVERAGE", "JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE", "PYTHON", "XLA_FLAGS")
# They shorten the test: XLA compiles in a third of the time, and pip does not compile modules.
_QUICK = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "PIP_NO_COMPILE": "1"}
_CONFIG = (
    *("--config=quickstart", "--config.data.build_dir=tfds", "--config.eval.batch_size=8"),
    *("--config.data.synthetic_train_images=16", "--config.data.synthetic_val_images=4"),
    *("--config.optim.batch_size=8", "--config.optim.epochs=1"),
)
_RUN_STABLEHLO = """
import pathlib, jax, numpy
model = jax.export.deserialize(bytearray(pathlib.Path("model.stablehlo").read_bytes()))
print(*model.call(numpy.zeros((2, 96, 64, 3), numpy.float32)).shape)
"""
_RUN_ONNX = """
import onnxruntime, numpy
model = onnxruntime.InferenceSession("model.onnx")
print(*model.run(None, {"image": numpy.zeros((2, 3, 96, 64), numpy.float32)})[0].shape)
"""
_WHERE = "import mamkpd_jax; print(mamkpd_jax.__file__)"
_FIRST_KERNEL = "from mamkpd_jax.bench.programs.kernel_report import rows; print(next(iter(rows())))"
_PEER = """
import sys
from mamkpd_jax.bench.peers.networks import build, cost
print(*cost(build(sys.argv[1], 17, (256, 192)), (256, 192)))
"""
# For each extra, commands of the README that need it, and a part of what the last one prints.
_COMMANDS = {
    "torch": (
        [
            ("mamkpd", "convert", "--checkpoint=run", "--output=model.pth"),
            ("mamkpd", "convert", "--input=model.pth", "--output=from_torch"),
        ],
        "from_torch: the weights of step",
    ),
    "onnx": (
        [("mamkpd", "export", "--checkpoint=run", "--output=model.onnx"), ("python", "-c", _RUN_ONNX)],
        "2 17 48 32",
    ),
    "plots": ([("mamkpd", "plots", "curves", "--workdir=run", "--output=plots")], "curves.pdf"),
    "kernel-report": ([("python", "-c", _FIRST_KERNEL)], "'spills': 0"),
}
_ELSEWHERE = {
    "serve": "test_the_serve_extra_alone",
    "peers": "test_the_peers_extra_alone",
    "hub": "tests/artifact/test_named.py",
    "openvino": "tests/inference/test_openvino_session.py",
    "heic": "tests/inference/test_images.py",
    "onnxruntime": "test_onnxruntime_alone_runs_exported_files",
    "dev": "`make test` is run with it",
    "docs": "`make docs` is run with it",
    "cuda12": "it needs a GPU, and takes 5.5 GB",
    "cuda13": "as cuda12",
}


def test_every_extra_has_its_commands():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(extras) == set(_COMMANDS) | set(_ELSEWHERE)


class Environment:
    """A virtual environment with the package, and the folder in which its programs run."""

    def __init__(self, folder: Path, work: Path):
        self._programs, self.work = folder / "bin", work
        self._variables = {name: value for name, value in os.environ.items() if not name.startswith(_OF_TESTS)}
        self._variables |= {"XDG_CACHE_HOME": str(work / "cache"), **_QUICK}

    def start(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([self._programs / program, *arguments], cwd=self.work, env=self._variables, **pipes)

    def run(self, *command: str) -> str:
        """Runs a command that must succeed; returns its standard output."""
        with self.start(*command) as process:
            out, err = process.communicate()
        assert process.returncode == 0, f"{' '.join(command)}\n{out}\n{err}"
        return out

    def install(self, what: str) -> None:
        self.run("python", "-m", "pip", "install", "--quiet", what)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    """A copy of the sources: pip writes a folder build/ into them, whose files would be in the next installation."""
    for name in ("mamkpd_jax", "configs"):
        shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True)
    for name in ("LICENSE", "README.md", "pyproject.toml", "requirements.txt"):
        shutil.copyfile(ROOT / name, folder / "source" / name)
    return folder / "source"


@pytest.fixture(scope="module")
def bare(folder: Path, source: Path) -> Environment:
    """An environment with requirements.txt alone, in which a run of two steps has been trained."""
    subprocess.run([sys.executable, "-m", "venv", folder / "bare"], check=True)
    (folder / "work").mkdir()
    environment = Environment(folder / "bare", folder / "work")
    environment.install(str(source))
    environment.run("mamkpd", "train", *_CONFIG, "--workdir=run")
    return environment


@pytest.fixture
def with_extra(bare: Environment, folder: Path, source: Path, tmp_path: Path):
    """Returns a copy of the bare environment with an extra added."""

    def make(extra: str) -> Environment:
        # Hard links suffice: pip replaces files and never modifies them.
        shutil.copytree(folder / "bare", folder / extra, symlinks=True, copy_function=os.link)
        shutil.copytree(bare.work / "run", tmp_path / "run")
        environment = Environment(folder / extra, tmp_path)
        environment.install(f"{source}[{extra}]")
        return environment

    return make


@pytest.mark.slow  # a minute of installing
def test_installed_package_needs_no_repository(bare: Environment, shared_data: Path):
    """`bare` has trained by a config's name, in a folder outside the repository."""
    assert str(ROOT) not in bare.run("python", "-c", _WHERE) and (bare.work / "run" / "report.json").exists()
    assert "people found" in bare.run("mamkpd", "predict", f"--input={shared_data / 'coco_mini'}"), "by shipped models"
    people = ROOT / "docs" / "people"
    predict = ("mamkpd", "predict", "--checkpoint=run", f"--input={people}", "--output=people")
    assert "results.json" in bare.run(*predict, f"--boxes={people / 'boxes.json'}")


@pytest.mark.slow
def test_requirements_alone_serve_every_command(bare: Environment):
    assert "results.json" in bare.run("mamkpd", "eval", *_CONFIG, "--workdir=run")
    bare.run("mamkpd", "convert", "--checkpoint=run", "--output=model.safetensors")
    bare.run("mamkpd", "convert", "--input=model.safetensors", "--output=from_file")
    bare.run("mamkpd", "export", "--checkpoint=run", "--output=model.stablehlo")
    assert bare.run("python", "-c", _RUN_STABLEHLO) == "2 48 32 17\n"
    bare.run("mamkpd", "show-data", *_CONFIG, "--output=drawn")
    assert list((bare.work / "cache" / "mamkpd_jax" / "compiled").glob("*-cache")), "compiled programs are kept"


@pytest.mark.slow
def test_a_bench_without_its_repository_is_refused(bare: Environment):
    with bare.start("mamkpd", "bench", "gpu", "--data=.", "--work=work", "--output=out") as process:
        _, err = process.communicate()
    assert process.returncode == 1 and "this benchmark needs the repository" in err, err


@pytest.mark.slow  # half a minute each
@pytest.mark.parametrize("extra", _COMMANDS)
def test_an_extra_alone_serves_its_commands(extra: str, with_extra):
    environment, (commands, printed) = with_extra(extra), _COMMANDS[extra]
    for command in commands:
        out = environment.run(*command)
    assert printed in out


@pytest.mark.slow
def test_onnxruntime_alone_runs_exported_files(with_extra):
    onnx = pytest.importorskip("mamkpd_jax.export.formats.onnx")
    environment, people = with_extra("onnxruntime"), ROOT / "docs" / "people"
    onnx.save(read_checkpoint(environment.work / "run"), environment.work / "model.onnx", Options())
    predict = ("mamkpd", "predict", "--checkpoint=model.onnx", f"--input={people}", "--output=people")
    assert "results.json" in environment.run(*predict, f"--boxes={people / 'boxes.json'}")


@pytest.mark.slow
def test_the_serve_extra_alone(with_extra):
    server = with_extra("serve").start("mamkpd", "serve", "--checkpoint=run", "--port=0")
    try:
        address = next((re.search("http://[0-9.:]+", line) for line in server.stdout if "ready" in line), None)
        assert address is not None, server.communicate()[1]
        for path, content in (("", b"<h1>"), ("/openapi.json", b'"/poses"'), ("/metrics", b"mamkpd_batch_crops")):
            assert content in urllib.request.urlopen(address[0] + path, timeout=60).read()
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.long
def test_the_peers_extra_alone(with_extra):
    environment = with_extra("peers")
    assert environment.run("python", "-c", _PEER, "simple_baseline").startswith("33999697 ")
    process = environment.start("python", "-c", _PEER, "vit_s")
    out, err = process.communicate(timeout=600)
    if "torchvision::nms does not exist" in err:
        pytest.skip("timm needs torchvision, and the one from PyPI is built for another torch than the CPU build")
    assert process.returncode == 0, err
    assert int(out.split()[0]) > 20_000_000
