"""Models out: ONNX and StableHLO."""
