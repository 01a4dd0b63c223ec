"""Opens ONNX files in OpenVINO (the extra `openvino`), on CPUs."""

import functools
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mamkpd_jax.artifact.weight_files import METADATA_KEY
from mamkpd_jax.errors import UserError

# Otherwise the import sends telemetry over the network and writes ~/intel.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # type: ignore[import-not-found]  # noqa: E402
from openvino.frontend import FrontEndManager  # type: ignore[import-not-found]  # noqa: E402

# Without the precision hint, OpenVINO runs fp32 models in bf16 on CPUs that have instructions for it.
_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
_TYPES = {"u8": "tensor(uint8)", "f32": "tensor(float)"}  # as onnxruntime calls them


class OpenVinoSession:
    """An ONNX file in OpenVINO, with the methods of `onnxruntime.InferenceSession` that `OnnxEngine` calls.

    Choice: each input shape is compiled on first use. A model with a dynamic batch size would run too, but OpenVINO
    fuses fewer of the scan's operations in it.

    Args:
        threads: the number of CPU threads; 0: OpenVINO's default.

    Raises:
        UserError: OpenVINO can't read the file.
    """

    def __init__(self, path: Path, *, threads: int = 0):
        core, reader = openvino.Core(), FrontEndManager().load_by_framework("onnx")
        try:
            # Not `read_model`, which tries every format: some of its readers print to the terminal.
            model = self._model = reader.convert(reader.load(str(path)))
        except Exception as error:  # OpenVINO raises RuntimeError and others
            raise UserError(f"{path} is damaged or not an ONNX file that OpenVINO reads; copy it again") from error
        settings = _SETTINGS | {"INFERENCE_NUM_THREADS": threads}
        self._inputs, self._outputs = ([_described(tensor) for tensor in of] for of in (model.inputs, model.outputs))

        @functools.cache
        def compiled(shape: tuple[int, ...]) -> Any:
            model.reshape(list(shape))
            return core.compile_model(model, "CPU", settings)

        self._compiled, self._lock = compiled, threading.Lock()  # a compiled model runs one call at a time

    def get_inputs(self) -> list[Any]:
        """Name, type and shape of the input image; a dynamic dimension is a string."""
        return self._inputs

    def get_outputs(self) -> list[Any]:
        """Name, type and shape of each output; a dynamic dimension is a string."""
        return self._outputs

    def get_providers(self) -> list[str]:
        """The execution provider, by onnxruntime's name."""
        return ["CPUExecutionProvider"]

    def get_modelmeta(self) -> Any:
        """The file's description, in `custom_metadata_map`."""
        place = ["framework", METADATA_KEY]
        found = {METADATA_KEY: self._model.get_rt_info(place).astype(str)} if self._model.has_rt_info(place) else {}
        return SimpleNamespace(custom_metadata_map=found)

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs for the one input; `names` is ignored."""
        (images,) = feeds.values()
        with self._lock:
            return [np.array(output) for output in self._compiled(images.shape)(images).values()]


def _described(tensor: Any) -> Any:
    shape = ["batch" if size.is_dynamic else size.get_length() for size in tensor.get_partial_shape()]
    kind = tensor.get_element_type().get_type_name()
    return SimpleNamespace(name=tensor.get_any_name(), type=_TYPES.get(kind, kind), shape=shape)
