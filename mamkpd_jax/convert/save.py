"""Weights into a file: `.safetensors` without torch, `.pth` with it."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from mamkpd_jax.convert.weights import Weights, metadata, to_torch
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_write

DTYPES = ("float32", "bfloat16")
METADATA_KEY = "mamkpd"  # as in torch_model, which imports nothing of this package


def save(weights: Weights, path: Path, dtype: str = "float32") -> None:
    """Writes the file that `torch_model.MamKPD.from_safetensors` or `from_pth` reads, whole or not at all.

    Args:
        path: ends in `.safetensors` or `.pth`.
        dtype: of `DTYPES`; bfloat16 halves a `.safetensors` file, in which norms, biases and the scan's A
            and D stay float32.
    """
    state, about = to_torch(weights), json.dumps(metadata(weights))
    if dtype == "bfloat16":
        state = {name: _rounded(array) if name.endswith("weight") else array for name, array in state.items()}
    with atomic_write(path) as temporary:
        if path.suffix == ".safetensors":
            temporary.write_bytes(safetensors.numpy.save(state, {METADATA_KEY: about}))
        else:
            try:
                import torch
            except ModuleNotFoundError as error:
                what = "torch; .pth files need `pip install -e '.[torch]'` in the repository, .safetensors nothing"
                raise UserError(f"{path}: there is no {what}") from error
            tensors = {name: torch.from_numpy(array) for name, array in state.items()}
            torch.save({"state_dict": tensors, METADATA_KEY: about}, temporary)


def _rounded(array: np.ndarray) -> np.ndarray:
    return array.astype(jnp.bfloat16) if array.ndim > 1 else array  # a norm's weight has one axis
