"""Exports a model to StableHLO with jax.export. The file runs wherever JAX does, without this package."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.errors import UserError
from mamkpd_jax.export.format import Format
from mamkpd_jax.files import atomic_folder, atomic_write
from mamkpd_jax.program import Options, program_of

PLATFORMS = ("cpu", "cuda")


def save(artifact: Artifact, path: Path, options: Options, precision: str = "fp32", batch: int = 0) -> None:
    """Writes a serialized jax.export.Exported for CPU and CUDA, atomically.

    To run it: `jax.export.deserialize(bytearray(path.read_bytes())).call(image)`. The image is uint8 RGB [b, h, w, 3]
    with `options.normalize`, else normalised float32 [b, h, w, 3]; the result is points [b, j, 2] in pixels of the
    crop and scores [b, j] with `options.decode`, else the head's, such as heatmaps [b, h / stride, w / stride, j].

    Args:
        path: a file NAME.stablehlo, or a new folder for model.stablehlo and model.json. The latter has the artifact's
            description, the options, the batch size, and the shapes and dtypes of inputs and outputs; a symbolic batch
            is "b".
        batch: the fixed number of crops; 0: any number, by a symbolic batch.

    Raises:
        UserError: the folder exists already.
    """
    del precision  # always fp32
    if path.suffix:
        with atomic_write(path) as temporary:
            temporary.write_bytes(_exported(artifact, options, batch).serialize())
        return
    if path.exists():
        raise UserError(f"{path} already exists; give a new folder")
    exported = _exported(artifact, options, batch)
    description = {
        **artifact.description(),
        "options": options.parts,
        "batch": batch,
        "platforms": exported.platforms,
        "inputs": [_description(array) for array in exported.in_avals],
        "outputs": [_description(array) for array in exported.out_avals],
    }
    with atomic_folder(path) as partial:
        (partial / "model.stablehlo").write_bytes(exported.serialize())
        (partial / "model.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def _description(array: Any) -> dict[str, Any]:
    return {"shape": [size if isinstance(size, int) else str(size) for size in array.shape], "dtype": str(array.dtype)}


def _exported(artifact: Artifact, options: Options, batch: int) -> export.Exported:
    size = batch or export.symbolic_shape("b")[0]
    dtype = jnp.uint8 if options.normalize else jnp.float32
    image = jax.ShapeDtypeStruct((size, *artifact.config.data.input_hw, 3), dtype)
    program = program_of(artifact, dataclasses.replace(options, scan="portable"))
    return export.export(jax.jit(program), platforms=PLATFORMS)(image)


FORMAT = Format(save)
