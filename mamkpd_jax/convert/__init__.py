"""Weights out of and into this package: PyTorch and safetensors."""
