"""A model as an ONNX file, by way of the PyTorch twin."""

import json
import os
import re
import tempfile
import warnings
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.quant_utils import add_pre_process_metadata
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from mamkpd_jax.artifact import torch_model
from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.weight_files import METADATA_KEY, to_torch
from mamkpd_jax.export.format import Format
from mamkpd_jax.program import Options
from mamkpd_jax.registry import HEADS

OPSET = 20
_BATCH_AXIS = "batch"
# By their names the network's layers, not the scan's own operations and not what is around the network. Those are in
# fp32 everywhere: in half precision 1 + exp(x) overflows from 11 on, a small delta is lost, and so is a heatmap's foot.
# A name that comes again, for the mirrored image, has a number.
_LAYERS = re.compile(r"/model(_\d+)?/(?!.*/ss2d(_\d+)?/[^/]+$)")


def twin(artifact: Artifact) -> torch_model.MamKPD:
    """The PyTorch twin with these weights, ready to predict."""
    kind = artifact.config.head.kind
    if kind not in torch_model.HEADS:
        torch_model.HEADS[kind] = HEADS[kind].twin()
    model = torch_model.MamKPD(artifact.description())
    model.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(artifact).items()})
    return model.eval()


def save(artifact: Artifact, path: Path, options: Options, precision: str = "fp32", batch: int = 0) -> None:
    """Writes an ONNX file, atomically.

    Its metadata is the artifact's description, with `options`, `precision` and `batch`. The input is `image`: uint8 RGB
    [b, h, w, 3] with `options.normalize`, else normalised float32 [b, 3, h, w]. The outputs are `points` [b, j, 2] in
    pixels of the crop and `scores` [b, j] with `options.decode`, else the head's, such as `heatmaps` [b, j, h, w].

    Args:
        precision: "fp32", "fp16" or "int8": fp16 halves the layers' weights, and leaves the scan and what is around
            the network in fp32; int8 quantizes the linear layers, dynamically.
        batch: the number of crops it takes, in a graph whose shapes are all constants; 0: any number.
    """
    model = torch_model.CropPredictor(twin(artifact), **options.parts).eval()
    height, width = artifact.config.data.input_hw
    if options.normalize:
        example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    else:
        example = torch.zeros(2, 3, height, width)
    outputs = ["points", "scores"] if options.decode else [HEADS[artifact.config.head.kind].output]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        traced, folded, final = (Path(folder) / name for name in ("traced.onnx", "folded.onnx", "final.onnx"))
        _trace(model, example, traced, outputs)
        _fold(traced, folded, batch)
        if precision == "int8":
            _quantize(folded, final)
        graph = onnx.load(final if precision == "int8" else folded)
        if precision == "fp16":
            others = [node.name for node in graph.graph.node if not _LAYERS.match(node.name)]
            graph = convert_float_to_float16(graph, keep_io_types=True, node_block_list=others)
            # The conversion puts casts to fp16 and back between two operations in fp32, at the end of the graph.
            converted = OnnxModel(graph)
            converted.disable_shape_inference()  # it fails on decoding, and the graph has all types
            converted.remove_cascaded_cast_nodes()
            converted.remove_useless_cast_nodes()
            converted.prune_graph()
            converted.topological_sort()
            graph = converted.model
        about = {**artifact.description(), "options": options.parts, "precision": precision, "batch": batch}
        onnx.helper.set_model_props(graph, {METADATA_KEY: json.dumps(about)})
        del graph.opset_import[:]  # onnxruntime lists its own operator sets, of which there is nothing in the graph
        graph.opset_import.append(onnx.helper.make_opsetid("", OPSET))
        onnx.checker.check_model(graph)
        onnx.save(graph, final)
        os.replace(final, path)


def _trace(model: torch.nn.Module, example: torch.Tensor, path: Path, outputs: list[str]) -> None:
    """Choice: the exporter that traces, though torch calls it the older one.

    The newer one (dynamo=True, torch 2.13, onnxscript 0.7) makes an equally good graph: of a model of two blocks 577
    nodes instead of 629, a dynamic batch, the same outputs within 5e-7 and the same speed. But it took 109 s instead of
    6 s for it, and needs onnxscript.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it is the older one, and of sizes taken as constants
        torch.onnx.export(
            model,
            (example,),
            path,
            dynamo=False,
            input_names=["image"],
            output_names=outputs,
            dynamic_axes={name: {0: _BATCH_AXIS} for name in ("image", *outputs)},
            opset_version=OPSET,
        )


def _fold(source: Path, target: Path, batch: int) -> None:
    """Folds constants and BatchNorm by onnxruntime's basic optimizations, which any runtime can read.

    With a batch size shapes are constants too. Products stay products, as without one: `_quantize` looks for them.
    """
    options = onnxruntime.SessionOptions()
    if batch:
        options.add_free_dimension_override_by_name(_BATCH_AXIS, batch)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(
        source, options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulAddFusion"]
    )


def _quantize(source: Path, target: Path) -> None:
    """The linear layers in int8, dynamically.

    Choice: not the four directions' projections to delta, which are one product of stacked matrices with few inputs:
    quantizing these takes more time than it saves, and rounds what the scan takes the exponential of.
    """
    model = onnx.load(source)
    stacked = {weight.name for weight in model.graph.initializer if len(weight.dims) > 2}
    left = [node.name for node in model.graph.node if node.op_type == "MatMul" and stacked & set(node.input)]
    add_pre_process_metadata(model)  # folding is the preparation that onnxruntime would otherwise warn to be missing
    onnx.save(model, source)
    quantize_dynamic(
        source, target, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8, nodes_to_exclude=left
    )


FORMAT = Format(save, ("fp32", "fp16", "int8"))
