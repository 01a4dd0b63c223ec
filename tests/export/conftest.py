"""The fixtures of conversion: random weights and real crops."""

from tests.artifact.conftest import crops, heatmaps, random_weights

__all__ = ["crops", "heatmaps", "random_weights"]
