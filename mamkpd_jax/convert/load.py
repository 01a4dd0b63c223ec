"""Weights from a file: `.safetensors` without torch, `.pth` with it; nothing in a file is executed."""

import json
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from mamkpd_jax.convert.checkpoint import read_checkpoint
from mamkpd_jax.convert.save import METADATA_KEY
from mamkpd_jax.convert.weights import Weights, from_torch
from mamkpd_jax.errors import UserError


def read_weights(path: Path, *, best: bool = False, ema: bool = True) -> Weights:
    """The weights of a training run's folder as `read_checkpoint` takes it, or of a file as `load` does.

    Raises:
        UserError: there are no weights.
    """
    if path.is_dir():
        return read_checkpoint(path, best=best, ema=ema)
    if path.suffix not in (".safetensors", ".pth"):
        raise UserError(f"{path} is neither the folder of a training run nor a .safetensors or .pth file")
    return load(path)


def load(path: Path) -> Weights:
    """The weights of a file that `save`, or `torch_model.MamKPD.save_pth`, wrote.

    Args:
        path: ends in `.safetensors` or `.pth`.

    Raises:
        UserError: the file can't be read, holds something else, or its weights don't fit the model it describes.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file; give a .safetensors or .pth file of weights")
    state, about = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    return from_torch(state, about, path)


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    try:
        with safe_open(path, framework="numpy") as file:
            about = (file.metadata() or {}).get(METADATA_KEY)
            state = {}
            for name in file.keys():
                try:
                    array = file.get_tensor(name)
                    state[name] = array.astype(np.float32) if array.dtype == jnp.bfloat16 else array
                except (TypeError, AttributeError) as error:  # a type that numpy lacks
                    raise _unreadable(path, name, file.get_slice(name).get_dtype()) from error
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or no safetensors file ({error}); write or copy it again") from error
    return state, _description(about, path)


def _read_pth(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: {error}; .pth files need `pip install -e '.[torch]'` in the repository") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a pickle before it refuses it
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises all kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is damaged, no PyTorch file, or holds more than weights, which is not read as it could run code "
            f"({reason})"
        ) from error
    state = saved.get("state_dict") if isinstance(saved, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise UserError(
            f"{path} has no `state_dict` of tensors by name; write it with MamKPD.save_pth of torch_model.py"
        )
    arrays = {}
    for name, tensor in state.items():
        try:
            arrays[name] = tensor.detach().numpy()
        except (TypeError, RuntimeError) as error:  # a type or layout that numpy lacks
            raise _unreadable(path, name, f"{tensor.dtype} ({tensor.layout}, on {tensor.device})") from error
    return arrays, _description(saved.get(METADATA_KEY), path)


def _unreadable(path: Path, name: str, kind: str) -> UserError:
    return UserError(f"{path}: {name} is {kind}; expected float32, dense: write the file again after model.float()")


def _description(about: object, path: Path) -> dict:
    try:
        description = json.loads(about)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        description = None
    if not isinstance(description, dict):
        raise UserError(
            f"{path} has no description of its model under the key {METADATA_KEY!r}; give a file of "
            "`mamkpd convert` or of MamKPD.save_pth"
        )
    return description
