"""Exports a model to ONNX, by tracing the PyTorch twin."""

import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from jaxtyping import UInt8
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from mamkpd_jax.artifact import torch_model
from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.weight_files import METADATA_KEY, to_torch
from mamkpd_jax.errors import UserError
from mamkpd_jax.export.format import Format
from mamkpd_jax.export.int8 import quantized
from mamkpd_jax.model.mamkpd import normalize
from mamkpd_jax.program import Options
from mamkpd_jax.registry import HEADS

OPSET = 20
_BATCH_AXIS = "batch"
_CALIBRATION_BATCH = 8
# Matches the names of the network's layers, but not of the scan's operations, nor of those around the network. These
# stay in fp32: in half precision 1 + exp(x) overflows from 11 on, and small deltas and a heatmap's tails are lost. In
# int8 the projections to delta, B and C would be too coarse, and quantizing such small products takes time.
# Names that are repeated for the mirrored image have a number.
_LAYERS = re.compile(r"/model(_\d+)?/(?!.*/ss2d(_\d+)?/[^/]+$)")


def twin(artifact: Artifact) -> torch_model.MamKPD:
    """The PyTorch twin with the artifact's weights, ready to predict."""
    kind = artifact.config.head.kind
    if kind not in torch_model.HEADS:
        torch_model.HEADS[kind] = HEADS[kind].twin()
    model = torch_model.MamKPD(artifact.description())
    model.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(artifact).items()})
    return model.eval()


def save(
    artifact: Artifact,
    path: Path,
    options: Options,
    precision: str = "fp32",
    batch: int = 0,
    calibration: np.ndarray | None = None,
) -> None:
    """Writes an ONNX file, atomically.

    Its metadata is the artifact's description, with `options`, `precision` and `batch`. The input is `image`: uint8 RGB
    [b, h, w, 3] with `options.normalize`, else normalised float32 [b, 3, h, w]. The outputs are `points` [b, j, 2] in
    pixels of the crop and `scores` [b, j] with `options.decode`, else the head's, such as `heatmaps` [b, j, h, w].

    Args:
        precision: "fp32", "fp16" or "int8". fp16 halves the layers' weights; the scan and the operations around the
            network stay in fp32. int8 quantizes the linear layers, with scales from `calibration`.
        batch: the fixed number of crops, with which all shapes are constants; 0: any number.
        calibration: a few hundred crops like those that the model will see, as uint8 RGB [n, h, w, 3]; required for
            int8, and refused for other precisions.

    Raises:
        UserError: int8 has no calibration, another precision has one, or its crops have another type or size.
    """
    _check(calibration, precision, artifact.config.data.input_hw)
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
        graph = onnx.load(folded)
        if calibration is not None:
            layers = [node.name for node in graph.graph.node if node.op_type == "MatMul" and _LAYERS.match(node.name)]
            graph = quantized(graph, layers, _feeds(calibration, options, batch), final)
        if precision == "fp16":
            others = [node.name for node in graph.graph.node if not _LAYERS.match(node.name)]
            graph = convert_float_to_float16(graph, keep_io_types=True, node_block_list=others)
            # The conversion adds needless casts to fp16 and back between fp32 operations, and lists them last.
            converted = OnnxModel(graph)
            converted.disable_shape_inference()  # it fails on decoding, and the graph already has all types
            converted.remove_cascaded_cast_nodes()
            converted.remove_useless_cast_nodes()
            converted.prune_graph()
            converted.topological_sort()
            graph = converted.model
        about = {**artifact.description(), "options": options.parts, "precision": precision, "batch": batch}
        onnx.helper.set_model_props(graph, {METADATA_KEY: json.dumps(about)})
        del graph.opset_import[:]  # onnxruntime adds its operator sets, which the graph doesn't use
        graph.opset_import.append(onnx.helper.make_opsetid("", OPSET))
        onnx.checker.check_model(graph)
        onnx.save(graph, final)
        os.replace(final, path)


def _trace(model: torch.nn.Module, example: torch.Tensor, path: Path, outputs: list[str]) -> None:
    """Traces the model on an example, and writes an ONNX file with a dynamic batch.

    Choice: the tracing exporter, which torch calls the older one. The newer one (dynamo=True, torch 2.13, onnxscript
    0.7) makes an equally good graph: for a model of two blocks 577 nodes instead of 629, a dynamic batch, the same
    outputs within 5e-7 and the same speed. But it takes 109 s instead of 6 s, and needs onnxscript.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it is the older one, and about sizes taken as constants
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
    """Folds constants and BatchNorm with onnxruntime's basic optimizations, whose result any runtime can read.

    With a batch size, shapes become constants too. MatMul nodes stay as they are, because int8 looks for them.
    """
    options = onnxruntime.SessionOptions()
    if batch:
        options.add_free_dimension_override_by_name(_BATCH_AXIS, batch)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(
        source, options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulAddFusion"]
    )


def _check(calibration: np.ndarray | None, precision: str, input_hw: tuple[int, int]) -> None:
    if (calibration is None) == (precision == "int8"):
        remedy = "give crops for it" if calibration is None else "leave it out, which only int8 takes"
        raise UserError(
            f"the precision is {precision} {'without' if calibration is None else 'with'} a calibration; {remedy}"
        )
    if calibration is not None and (calibration.shape[1:3] != input_hw or not len(calibration)):
        raise UserError(
            f"the calibration has the shape {list(calibration.shape)}; expected at least one crop, "
            f"[n, {input_hw[0]}, {input_hw[1]}, 3]"
        )


def _feeds(calibration: UInt8[np.ndarray, "n h w 3"], options: Options, batch: int) -> Iterator[dict[str, np.ndarray]]:
    """The calibration's crops as inputs of the model, in batches; the first crops fill up the last batch."""
    size = batch or _CALIBRATION_BATCH
    n_batches = -(-len(calibration) // size)
    for images in np.resize(calibration, (n_batches, size, *calibration.shape[1:])):
        yield {"image": images if options.normalize else np.asarray(normalize(images)).transpose(0, 3, 1, 2)}


FORMAT = Format(save, ("fp32", "fp16", "int8"))
