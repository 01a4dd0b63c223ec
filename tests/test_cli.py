"""What all command-line programs share."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from mamkpd_jax.artifact.checkpoints import write_checkpoint
from mamkpd_jax.cli import _guarded
from mamkpd_jax.config import Config, ModelConfig
from mamkpd_jax.files import write_json
from tests.artifact.conftest import random_weights

__all__ = ["random_weights"]


def test_closed_output_pipe_ends_the_program_silently():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "mamkpd_jax", "bench", "table", "--result=benchmarks/results/export_cpu.json"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert done.stderr == "" and done.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (".", "error: {folder} can't be written (Is a directory); give the name of a file"),
        ("file/out.json", "error: {folder}/file can't be written (File exists); a file is where a folder should be: "),
        ("file/a/out.json", "error: {folder}/file/a can't be written (Not a directory); a file is where a folder "),
    ],
)
def test_unwritable_output_prints_one_line(output, line, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        _guarded(lambda: write_json(tmp_path / output, {}))
    assert end.value.code == 1
    printed = capsys.readouterr().err
    assert printed.startswith(line.format(folder=tmp_path)) and printed.count("\n") == 1


def test_too_large_output_prints_one_line(tmp_path, capsys):
    """FAT file systems, for example, allow 4 GiB."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(SystemExit):
            _guarded(lambda: write_json(tmp_path / "out.json", "x" * 5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "can't be written (File too large); free space or give another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "allocate", [lambda: jnp.zeros(2**45).block_until_ready(), lambda: np.zeros(2**50)], ids=["jax", "numpy"]
)
def test_too_little_memory_prints_one_line(allocate, capsys):
    with pytest.raises(SystemExit) as end:
        _guarded(allocate)
    printed = capsys.readouterr().err
    assert end.value.code == 1 and printed.startswith("error: not enough memory (") and printed.count("\n") == 1
    assert "; lower the batch size, or see Out of memory in docs/troubleshooting.md" in printed


def test_missing_device_prints_one_line():
    command = [sys.executable, "-m", "mamkpd_jax", "predict", "--input=examples/skier.jpg", "--boxes=whole"]
    done = subprocess.run(command, env=os.environ | {"JAX_PLATFORMS": "other"}, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert last.startswith("error: JAX_PLATFORMS=other: Unable to initialize backend 'other'")


def _interruptible(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Starts a Python program. Ctrl-C interrupts it even if it is ignored here, as in the background."""
    reset = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-X", "importtime", "-c", reset + program, *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_prints_one_line():
    with _interruptible("from mamkpd_jax import cli; cli.run(lambda: signal.raise_signal(signal.SIGINT))") as process:
        lines = process.communicate()[1].splitlines()
    assert process.returncode == 130
    assert [line for line in lines if not line.startswith("import time:")] == ["interrupted"]


def test_ctrl_c_during_imports_ends_silently():
    with _interruptible("from mamkpd_jax.__main__ import main; main()", "predict", "--input=a.jpg") as process:
        assert process.stderr is not None
        while "mamkpd_jax.compilation_cache" not in process.stderr.readline():  # importtime prints finished imports
            pass
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read().splitlines()
    assert process.returncode == -signal.SIGINT and all(line.startswith("import time:") for line in rest), rest[-9:]


def test_imported_objects_are_not_searched_for_garbage(capfd):
    """And `mamkpd predict` imports PyAV for videos only."""
    program = (
        "import gc, sys; from mamkpd_jax import cli; from mamkpd_jax.registry import COMMANDS; "
        "sys.argv.append('predict'); cli._imported(cli.Choice('command', COMMANDS, str)); "
        "print(gc.isenabled(), gc.get_freeze_count() > 10_000, 'av' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert capfd.readouterr().out == "True True False\n"


def test_other_errors_keep_their_traceback():
    def fail():
        raise RuntimeError("a fault of the program")

    with pytest.raises(RuntimeError, match="a fault of the program"):
        _guarded(fail)


def _without(package: str, *command: str) -> subprocess.CompletedProcess:
    """Runs a program as if a package were not installed."""
    script = (
        "import runpy, sys; sys.modules[sys.argv[1]] = None; del sys.argv[:2]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    )
    return subprocess.run(
        [sys.executable, "-c", script, package, *command],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("package", "extra", "command"),
    [
        ("torch", "torch", "mamkpd_jax bench export_speed"),
        ("onnxruntime", "onnx", "mamkpd_jax bench export_speed"),
        ("openvino", "openvino", "mamkpd_jax bench export_speed"),
        ("torch", "torch", "mamkpd_jax bench export_accuracy --checkpoint={run}"),
        (
            "torch",
            "peers",
            "mamkpd_jax bench training_accuracy --config=configs/lspet.py --workdir={new} --output={new}/out.json",
        ),
        ("torch", "peers", "mamkpd_jax bench speed --peers=simple_baseline"),
        ("torch", "torch", "mamkpd_jax bench model --torch=eager --variants=small"),
        ("onnx", "onnx", "mamkpd_jax export --checkpoint={run} --output={new}/model.onnx"),
        ("matplotlib", "plots", "mamkpd_jax plots tradeoff --output={new}"),
        ("uvicorn", "serve", "mamkpd_jax serve --checkpoint={run}"),
    ],
)
def test_missing_extra_prints_one_line(package, extra, command, tmp_path, random_weights):
    if package in ("torch", "openvino") and "bench " in command:
        pytest.importorskip("onnxruntime")  # these programs import it first
    if package == "openvino":
        pytest.importorskip("torch")  # the program imports it before openvino
    model = ModelConfig(stem=False, depths=(1,), dims=(8,), decoder_dim=8)
    write_checkpoint(random_weights(Config(model=model)), tmp_path / "run")
    done = _without(package, *(word.format(run=tmp_path / "run", new=tmp_path / "new") for word in command.split()))
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert last.startswith("error: ") and package in last and f"pip install '.[{extra}]'" in last
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_accuracy_of_variants_alone_needs_no_torch(tmp_path):
    flags = ("--config=configs/lspet.py", "--contenders=base", "--minutes=0", f"--workdir={tmp_path}")
    done = _without("torch", "mamkpd_jax", "bench", "training_accuracy", *flags, f"--output={tmp_path / 'out.json'}")
    assert done.returncode == 0 and "0 of 1 runs are done" in done.stdout, done.stderr
