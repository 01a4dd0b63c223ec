"""Programs that blocks of the documentation call by the names `mamkpd`, `python`, `pip` and `make`, made short.

The text of a block stays as a reader sees it. What is added to a command is in `ADDED`, and nowhere else.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PORT = "MAMKPD_DOCUMENTED_PORT"  # replaces 8000, which may be taken on the machine that runs the tests
STARTED = "started.txt"  # the processes that a page has started, to end after its last block
_START_UP_S = 120

# Flags that follow a command's documented ones, by its first words: a full run takes minutes to days.
_TINY = (
    *("--config.model.depths=(1,)", "--config.model.dims=(8,)", "--config.model.stem=False"),
    *("--config.model.decoder_dim=8", "--config.data.input_hw=(64, 48)", "--config.data.workers=0"),
    *("--config.data.synthetic_train_images=16", "--config.data.synthetic_val_images=4"),
    *("--config.optim.batch_size=8", "--config.optim.epochs=1", "--config.optim.decay_epochs=()"),
    *("--config.optim.warmup_steps=2", "--config.eval.batch_size=8"),
)
ADDED = {
    ("train",): _TINY,
    ("finetune",): ("--steps=2",),
    ("bench", "export-accuracy"): ("--calibration=photos",),
    ("bench", "serve"): ("--seconds=2", "--clients=2"),
}

# Programs in place of a command, by its first words. Later blocks of the page need its data, not its measurement.
_OWN_DATA = """
from pathlib import Path
from mamkpd_jax.bench.programs.own_data import make_set
make_set(Path("data/coco"), Path("runs/own_data/yolo"))
"""
REPLACED = {("bench", "own-data"): _OWN_DATA}


def added(arguments: list[str]) -> list[str]:
    """The flags that make a command short."""
    words = _words(arguments)
    if words[:1] == ("serve",):
        return [f"--port={os.environ[PORT]}"]
    return list(ADDED.get(words[:1]) or ADDED.get(words) or ())


def _words(arguments: list[str]) -> tuple[str, ...]:
    return tuple(word.replace("_", "-") for word in arguments[:2])


def mamkpd(arguments: list[str]) -> None:
    if code := REPLACED.get(_words(arguments)):
        os.execv(sys.executable, [sys.executable, "-c", code])
    command = [sys.executable, "-m", "mamkpd_jax", *arguments, *added(arguments)]
    if arguments[:1] == ["serve"] and "--help" not in arguments:
        _start(command)
    else:
        os.execv(command[0], command)


def python(arguments: list[str]) -> None:
    if arguments[:2] == ["-m", "pip"]:
        pip(arguments[2:])
    elif arguments[:2] == ["-m", "mamkpd_jax"]:
        mamkpd(arguments[2:])
    elif arguments and arguments[0] in ("train.py", "eval.py"):
        mamkpd([arguments[0].removesuffix(".py"), *arguments[1:]])
    elif arguments[:2] == ["-m", "http.server"]:
        _start([sys.executable, "-m", "http.server", *arguments[2:], os.environ[PORT]])
    elif arguments[:2] == ["-m", "venv"]:
        pass  # the environment of the tests is active already
    else:
        os.execv(sys.executable, [sys.executable, *arguments])


def pip(arguments: list[str]) -> None:
    """Installs nothing: it checks that each extra exists, and that this project knows each package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [line for lines in extras.values() for line in lines]
    requirements += (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    known = {_plain(line) for line in requirements} | {_plain(d.name) for d in metadata.distributions()}
    if arguments[:1] != ["install"]:
        sys.exit(f"error: expected pip install, got pip {' '.join(arguments)}")
    for argument in arguments[1:]:
        if own := re.fullmatch(r"(?:\.|mamkpd-jax)(?:\[(.*)\])?", argument):
            unknown = set(filter(None, re.split(", *", own[1] or ""))) - set(extras)
        else:
            unknown = set() if argument.startswith("-") else {_plain(argument)} - known
        if unknown:
            sys.exit(f"error: pip install {argument}: this project does not know {', '.join(sorted(unknown))}")


def make(arguments: list[str]) -> None:
    """Checks that the targets exist: other stages of CI run them."""
    others = os.pathsep.join(os.environ["PATH"].split(os.pathsep)[1:])
    program = shutil.which("make", path=others) or sys.exit("error: make is not installed")
    os.execve(program, ["make", "-n", "-C", str(ROOT), *arguments], os.environ | {"PATH": others})


def _plain(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement.strip())[0].lower().replace("_", "-")


def _start(command: list[str]) -> None:
    """Starts a server, and returns when it listens: the next command of the block asks it."""
    with open("server.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    with open(STARTED, "a", encoding="utf-8") as file:
        print(process.pid, file=file)
    end = time.monotonic() + _START_UP_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", int(os.environ[PORT]))) == 0:
                return
        time.sleep(0.1)
    process.terminate()
    sys.exit(f"error: the server did not start\n{Path('server.log').read_text(encoding='utf-8')}")


PROGRAMS = {"make": make, "mamkpd": mamkpd, "pip": pip, "python": python, "python3": python}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2:])
