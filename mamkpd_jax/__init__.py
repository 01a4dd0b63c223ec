"""MamKPD, a Mamba baseline for real-time 2D keypoint detection, in JAX and Flax NNX."""

__version__ = "0.1.0"
