"""The fixtures of inference: a tiny model as a training run's folder."""

from tests.artifact.conftest import random_weights
from tests.inference.conftest import config, workdir

__all__ = ["config", "random_weights", "workdir"]
