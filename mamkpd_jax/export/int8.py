"""Static quantization of an ONNX graph's linear layers, with the activations' scales from a calibration."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata


class _Feeds(CalibrationDataReader):
    def __init__(self, feeds: Iterable[dict[str, Any]]):
        self._feeds = iter(feeds)

    def get_next(self) -> Any:  # None ends the iteration, which the base class does not declare
        return next(self._feeds, None)


def quantized(
    model: onnx.ModelProto, layers: list[str], feeds: Iterable[dict[str, Any]], file: Path
) -> onnx.ModelProto:
    """The model with these MatMul nodes in int8: weights have a scale for each output channel, inputs a single one.

    Results are float32, because QuantizeLinear and DequantizeLinear nodes are only before the inputs.

    Choice: symmetric int8 with zero point 0, which TensorRT requires; asymmetric uint8 was no more accurate. Weights
    have 7 bits: CPUs with AVX2 or AVX-512 but without VNNI add two products in 16 bits, and would saturate. A scale
    covers the whole range that the calibration saw.

    Args:
        layers: the nodes' names.
        feeds: the model's inputs for the calibration, one run at a time.
        file: a path for the intermediate model.
    """
    add_pre_process_metadata(model)  # the graph is folded already; without this mark onnxruntime warns that it isn't
    quantize_static(
        model,
        file,
        _Feeds(feeds),
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=layers,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]},
    )
    return onnx.load(file)
