"""The engine that runs an ONNX file of `mamkpd export` in onnxruntime, which compiles nothing, or OpenVINO."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from mamkpd_jax.artifact.artifact import Description, described
from mamkpd_jax.artifact.weight_files import METADATA_KEY, parsed
from mamkpd_jax.errors import UserError
from mamkpd_jax.heads._head import head_of
from mamkpd_jax.inference.engine import Batch, Engine, padded, with_flip_test
from mamkpd_jax.inference.onnx_session import open_session
from mamkpd_jax.model.mamkpd import normalize
from mamkpd_jax.program import NETWORK, Options
from mamkpd_jax.registry import HEADS

RUNTIMES = ("onnxruntime", "openvino")


class OnnxEngine(Engine):
    """Runs an exported file in onnxruntime or OpenVINO. NumPy normalises and decodes if the file does not.

    Args:
        flip_test: whether to apply the flip test; None: as exported. It can be added to a file that does not decode.
        batch_size: the number of crops in a full batch; a static batch size of the file takes precedence.
        runtime: one of RUNTIMES. OpenVINO compiles two shapes: one crop, and `batch_size` crops.

    Raises:
        UserError: the runtime is unknown, the file is damaged or was not written by `mamkpd export`, or it does not
            allow this flip test.
        ModuleNotFoundError: openvino is not installed.
    """

    def __init__(self, path: Path, *, flip_test: bool | None, batch_size: int, runtime: str):
        self._compiles = runtime == "openvino"
        self._session = _open(path, runtime)
        self._digest = hashlib.sha256(path.read_bytes() + runtime.encode()).hexdigest()
        model, self._in_file = _described(path, self._session)
        _check_shapes(path, self._session, model, self._in_file)
        flip_test = _flip_test(path, flip_test, self._in_file)
        self._mirrors = flip_test and not self._in_file.flip_test
        self.model = dataclasses.replace(model, config=with_flip_test(model.config, flip_test))
        self._head = head_of(model.config, model.skeleton)
        self._image = self._session.get_inputs()[0].name
        batch = self._session.get_inputs()[0].shape[0]
        self._static_batch = batch if isinstance(batch, int) else None
        self.batch_size = self._static_batch or batch_size
        logging.info("%s on %s", runtime, self._session.get_providers()[0].removesuffix("ExecutionProvider"))

    def predict(self, crops: Batch, *, alone: bool) -> tuple[Any, Any]:
        # Another shape may round differently.
        return self.decode(self.outputs(padded(crops, self.batch_size) if self._compiles and not alone else crops))

    def outputs(self, crops: Batch) -> Any:
        if self._static_batch or (self._compiles and len(crops) > 1):
            crops = padded(crops, self.batch_size)
        outputs = self._run(crops)
        return (outputs + self._head.flip(self._run(crops[:, :, ::-1]))) / 2 if self._mirrors else outputs

    def decode(self, outputs: Any) -> tuple[Any, Any]:
        return outputs if self._in_file.decode else self._head.decode(outputs)

    def maps(self, outputs: Any) -> Any:
        if self._in_file.decode:
            return np.zeros((len(outputs[0]), 1, 1, self.model.skeleton.n_joints), np.float32)
        return self._head.maps(outputs)

    def digest(self) -> str:
        """SHA-256 of the file and the runtime's name."""
        return self._digest

    def _run(self, crops: Batch) -> Any:
        """The file's points and scores, or its head's outputs with the channels last."""
        images = crops if self._in_file.normalize else normalize(crops).transpose(0, 3, 1, 2)
        outputs = self._session.run(None, {self._image: images})
        if self._in_file.decode:
            return tuple(outputs)
        return outputs[0].transpose(0, 2, 3, 1) if outputs[0].ndim == 4 else outputs[0]


def _open(path: Path, runtime: str) -> Any:
    if runtime == "onnxruntime":
        return open_session(path)
    if runtime not in RUNTIMES:
        raise UserError(f"the runtime is {runtime!r}; expected one of {', '.join(RUNTIMES)}")
    from mamkpd_jax.inference.openvino_session import OpenVinoSession

    return OpenVinoSession(path)


def _described(path: Path, session: Any) -> tuple[Description, Options]:
    """The description of a file's model, and the options that it was exported with."""
    metadata = session.get_modelmeta().custom_metadata_map
    saved = parsed(metadata.get(METADATA_KEY), path, "a file of `mamkpd export`")
    try:
        model = described(saved)
    except UserError as error:
        raise UserError(f"{path} has no model that this package can use: {error}") from error
    names, parts = list(NETWORK.parts), saved.get("options")
    if not isinstance(parts, dict) or any(type(parts.get(name)) is not bool for name in names):
        raise UserError(
            f"{path} has the options {parts!r}; expected true or false for {', '.join(names)}: export it again"
        )
    return model, Options(**{name: parts[name] for name in names})


def _check_shapes(path: Path, session: Any, model: Description, in_file: Options) -> None:
    """Raises UserError if the graph's inputs and outputs differ from its description."""
    (height, width), joints = model.config.data.input_hw, model.skeleton.n_joints
    image = ("tensor(uint8)", [height, width, 3]) if in_file.normalize else ("tensor(float)", [3, height, width])
    names = ["points", "scores"] if in_file.decode else [HEADS[model.config.head.kind].output]
    inputs, outputs = session.get_inputs(), session.get_outputs()
    found = [(i.type, i.shape[1:]) for i in inputs], [output.name for output in outputs]
    # Of a head's outputs only maps are known to have the joints on the second axis.
    by_joint = {size for output in outputs if in_file.decode or len(output.shape) == 4 for size in output.shape[1:2]}
    other = {size for size in by_joint if isinstance(size, int)} - {joints}
    if found != ([image], names) or inputs[0].shape[0] == 0 or other:
        raise UserError(
            f"{path} takes {[(i.type, i.shape) for i in inputs]} and gives {[(o.name, o.shape) for o in outputs]}; "
            f"expected by its description {image} after the batch, and {names} of {joints} joints: export it again"
        )


def _flip_test(path: Path, wanted: bool | None, in_file: Options) -> bool:
    """Whether to apply the flip test, in the file or around it."""
    if wanted is False and in_file.flip_test:
        raise UserError(
            f"{path} was exported with the flip test, which can't be left out; export it without --flip_test"
        )
    if wanted and not in_file.flip_test and in_file.decode:
        raise UserError(
            f"{path} was exported with --decode and without the flip test, which can't be added to points; export it "
            "with --flip_test"
        )
    return in_file.flip_test if wanted is None else wanted
