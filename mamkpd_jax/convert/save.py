"""Weights into a file: `.safetensors` without torch, `.pth` with it."""

import json
from pathlib import Path

import safetensors.numpy

from mamkpd_jax.convert.weights import Weights, metadata, to_torch
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import whole

METADATA_KEY = "mamkpd"  # as in torch_model, which imports nothing of this package


def save(weights: Weights, path: Path) -> None:
    """Writes the file that `torch_model.MamKPD.from_safetensors` or `from_pth` reads, whole or not at all.

    Args:
        path: ends in `.safetensors` or `.pth`.
    """
    state, about = to_torch(weights), json.dumps(metadata(weights))
    with whole(path) as temporary:
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
