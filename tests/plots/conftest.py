"""Fixtures from the inference tests: a run directory of a tiny model."""

from tests.artifact.conftest import random_weights
from tests.inference.conftest import config, workdir

__all__ = ["config", "random_weights", "workdir"]
