"""Exported ONNX files in OpenVINO (the extra `openvino`)."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Else the import reports itself to OpenVINO's makers over the network, and writes ~/intel.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # type: ignore[import-not-found]  # noqa: E402

# The hint, as OpenVINO computes fp32 models in bf16 on CPUs that have instructions for it.
_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}


def openvino_run(path: Path, threads: int) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Returns a function of a file's input, on the CPU, that gives the file's outputs in their order.

    Choice: each shape of the input is compiled when it is first met. A model whose batch is open runs too, but OpenVINO
    fuses fewer of the scan's operations in it.
    """
    core = openvino.Core()
    model = core.read_model(path)

    @functools.cache
    def compiled(shape: tuple[int, ...]) -> Any:
        model.reshape(list(shape))
        return core.compile_model(model, "CPU", _SETTINGS | {"INFERENCE_NUM_THREADS": threads})

    return lambda images: list(compiled(images.shape)(images).values())
