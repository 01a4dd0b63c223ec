"""The fixtures of tests/artifact, for the tests of export."""

from tests.artifact.conftest import crops, heatmaps, random_weights

__all__ = ["crops", "heatmaps", "random_weights"]
