"""Runs `mamkpd predict` many times in one process, because starting one for each run would take minutes."""

import contextlib
import hashlib
import io
import logging
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from absl import flags
from absl.testing import flagsaver

from mamkpd_jax import cli
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.commands import predict
from mamkpd_jax.inference.predictor import Predictor

_made: dict[tuple, Predictor] = {}
# A separate process: in the tests' process absl also has the flags of other commands, some of them required.
_process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


class Outcome(NamedTuple):
    status: int
    printed: str
    errors: str


def run_predict(*arguments: str) -> Outcome:
    """Runs the command as the program does. Runs with equal weights and options share a compiled model."""
    return _process.submit(_run, arguments).result()


def _run(arguments: tuple[str, ...]) -> Outcome:
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    argv, handlers, status = sys.argv, logging.root.handlers, 0
    with contextlib.ExitStack() as restored:
        restored.enter_context(flagsaver.flagsaver())
        restored.enter_context(mock.patch.object(Predictor, "from_pretrained", compiled_once))
        restored.enter_context(contextlib.redirect_stdout(out))
        restored.enter_context(contextlib.redirect_stderr(err))
        flags.FLAGS.unparse_flags()
        sys.argv = ["mamkpd predict", *arguments]
        try:
            cli.run(predict.main)
        except SystemExit as end:
            status = end.code or 0
        finally:
            sys.argv, logging.root.handlers = argv, handlers
    return Outcome(status, *(file.buffer.getvalue().decode() for file in (out, err)))


def compiled_once(source: str | Path, *, best: bool = False, ema: bool = True, **options: Any) -> Predictor:
    """The predictor of `Predictor.from_pretrained` for a weights file; equal ones are made once."""
    key = hashlib.sha256(Path(source).read_bytes()).hexdigest(), *sorted(options.items())
    if key not in _made:
        _made[key] = Predictor(read_artifact(source, best=best, ema=ema), **options)
    return _made[key]
