"""A model as an ONNX file, by way of the PyTorch twin."""

import dataclasses
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

from mamkpd_jax.convert.save import METADATA_KEY
from mamkpd_jax.convert.torch_model import MamKPD, Predictor
from mamkpd_jax.convert.weights import Weights, metadata, to_torch
from mamkpd_jax.export.options import Options

OPSET = 20
Precision = Literal["fp32", "fp16", "int8"]


def twin(weights: Weights) -> MamKPD:
    """The PyTorch twin with these weights, ready to predict."""
    model = MamKPD(metadata(weights))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(weights).items()})
    return model.eval()


def save_onnx(weights: Weights, path: Path, options: Options, precision: Precision = "fp32") -> None:
    """Writes an ONNX file with a dynamic batch axis, whole or not at all; its metadata is that of the weights.

    The input is `image`: uint8 RGB [b, h, w, 3] with `options.normalize`, else normalised float32 [b, 3, h, w]. The
    outputs are `points` [b, j, 2] in pixels of the image and `scores` [b, j] with `options.decode`, else `heatmaps`
    [b, j, h / stride, w / stride].

    Args:
        precision: fp16 halves the file, int8 quarters the linear layers' weights and computes them in integers.
    """
    model = Predictor(twin(weights), **dataclasses.asdict(options))
    height, width = weights.config.data.input_hw
    # Two, so that a size that the tracer took from the example would show.
    example = (
        torch.zeros(2, height, width, 3, dtype=torch.uint8) if options.normalize else torch.zeros(2, 3, height, width)
    )
    outputs = ["points", "scores"] if options.decode else ["heatmaps"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        traced, folded, final = (Path(folder) / name for name in ("traced.onnx", "folded.onnx", "final.onnx"))
        _trace(model.eval(), example, traced, outputs)
        _fold(traced, folded)
        if precision == "int8":
            quantize_dynamic(folded, final, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8)
        else:
            onnx_model = onnx.load(folded)
            if precision == "fp16":
                onnx_model = convert_float_to_float16(onnx_model, keep_io_types=True, op_block_list=_FP32_OPS)
            onnx.save(onnx_model, final)
        onnx_model = onnx.load(final)
        onnx.helper.set_model_props(onnx_model, {METADATA_KEY: json.dumps(metadata(weights))})
        onnx.checker.check_model(onnx_model)
        onnx.save(onnx_model, final)
        os.replace(final, path)
