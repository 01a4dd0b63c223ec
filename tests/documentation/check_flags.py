"""Parses command lines by the package's own parsers without running them. JSON lists of words in, messages out.

Each is parsed in a separate process, because flags of all commands share one namespace. The processes are forks of
one that has imported the command, because imports take most of the time.
"""

import importlib
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

for _name in ("cv2", "flax.nnx", "jax", "ml_collections", "optax", "orbax.checkpoint", "scipy.io"):
    importlib.import_module(_name)

from absl import app  # noqa: E402

from mamkpd_jax import __main__, cli  # noqa: E402
from mamkpd_jax.config import Config  # noqa: E402
from mamkpd_jax.errors import UserError  # noqa: E402
from mamkpd_jax.registry import BENCHES, COMMANDS  # noqa: E402

_define_config = cli.define_config


def _config_of_any_run(default=lambda: None):
    """As `cli.define_config`; the run that has the config need not exist."""

    def config():
        try:
            return default()
        except UserError:
            return Config()

    return _define_config(config)


cli.define_config = _config_of_any_run
app.run = lambda _, flags_parser: flags_parser(sys.argv)


def messages(commands: list[list[str]]) -> list[str]:
    """What the program prints about each command line that it refuses; nothing about the others."""
    places = sorted(range(len(commands)), key=lambda i: _program(commands[i]))
    found = {}
    for program, group in groupby(places, lambda i: _program(commands[i])):
        numbers = list(group)
        found |= zip(
            numbers, _forked(lambda p=program, n=numbers: _of_program(p, [commands[i] for i in n])), strict=True
        )
    return [found[i] for i in range(len(commands))]


def _program(words: list[str]) -> list[str]:
    names = [word.replace("-", "_") for word in words[: 1 + (words[:1] == ["bench"])]]
    return [name for name in names if not name.startswith("_")]


def _of_program(names: list[str], commands: list[list[str]]) -> list[str]:
    for registry, name in zip((COMMANDS, BENCHES), names, strict=False):
        if name in registry.names():
            registry[name]  # imports it
    return [_forked(lambda words=words: _message(words)) for words in commands]


def _message(words: list[str]) -> str:
    # A config file of the page is not in the repository.
    absent = [w for w in words if w.startswith("--config=") and ".py" in w and not Path(w[9:].split(":")[0]).exists()]
    sys.argv = ["mamkpd", *("--config=quickstart" if word in absent else word for word in words)]
    with tempfile.TemporaryFile("w+") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
        try:
            __main__.main()
        except SystemExit as end:
            if end.code:
                sys.stdout.flush()
                output.seek(0)
                return output.read().strip() or f"exit status {end.code}"
        except Exception as error:
            return repr(error)
    return ""


def _forked(task: Callable[[], Any]) -> Any:
    """The result of a task that a fork of this process does."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        status = 1
        try:
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(task(), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(content) if content else "the parser failed"


if __name__ == "__main__":
    results = messages(json.load(sys.stdin))
    json.dump(results, sys.stdout)
