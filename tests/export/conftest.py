"""The fixtures of conversion: random weights and real crops."""

from tests.convert.conftest import crops, heatmaps, random_weights

__all__ = ["crops", "heatmaps", "random_weights"]
