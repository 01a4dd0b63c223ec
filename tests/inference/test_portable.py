"""Prediction without the modules that only POSIX systems have."""

import os
import subprocess
import sys
from pathlib import Path

_PREDICT = """
import importlib.abc, sys

class Windows(importlib.abc.MetaPathFinder):
    missing = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}

    def find_spec(self, name, path=None, target=None):
        if name in self.missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Windows())
for name in Windows.missing - {"posix"}:  # os has it already
    sys.modules.pop(name, None)
import numpy
from mamkpd_jax import Predictor

(pose,) = Predictor.from_pretrained(sys.argv[1], flip_test=False)(numpy.zeros((80, 60, 3), numpy.uint8), "whole")
print(*pose.keypoints.shape)
"""


def test_predictor_without_posix_modules(workdir):
    command = [sys.executable, "-c", _PREDICT, str(workdir)]
    # Without fcntl, JAX's cache uses other locks than the processes that share the tests' compilation cache.
    variables = os.environ | {"JAX_COMPILATION_CACHE_DIR": ""}
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=variables, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "1 17 2\n", done.stderr
