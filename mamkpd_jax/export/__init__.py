"""Exports models to ONNX and StableHLO."""
