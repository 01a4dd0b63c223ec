"""Artifacts as files: `.safetensors` without torch, `.pth` or `.pt` with it; nothing in a file is executed."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from mamkpd_jax.artifact.artifact import Artifact, by_name, described, shapes, with_arrays
from mamkpd_jax.artifact.torch_names import COUNTER, layout, torch_name
from mamkpd_jax.config import ModelConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_write

SUFFIXES = (".safetensors", ".pth", ".pt")
DTYPES = ("float32", "bfloat16")
METADATA_KEY = "mamkpd"  # repeats torch_model's, which imports nothing from this package
_WRITTEN_BY = "a file of `mamkpd convert` or of MamKPD.save_pth"
_ROUNDED = ("weight", "x_proj", "dt_weight")
_NAMED = 5  # differences that a message lists
_WRAPPERS = ("module.", "_orig_mod.")  # torch's DataParallel and torch.compile put these before each name


def save(artifact: Artifact, path: Path, dtype: str = "float32") -> None:
    """Writes the file that `torch_model.MamKPD.from_safetensors` or `from_pth` reads, atomically.

    Args:
        path: ends in one of `SUFFIXES`.
        dtype: one of `DTYPES`. bfloat16 halves a `.safetensors` file; norms, biases and the scan's A and D stay
            float32.
    """
    state, description = to_torch(artifact), json.dumps(artifact.description())
    if dtype == "bfloat16":
        state = {name: _rounded(array) if name.endswith(_ROUNDED) else array for name, array in state.items()}
    with atomic_write(path) as temporary:
        if path.suffix == ".safetensors":
            temporary.write_bytes(safetensors.numpy.save(state, {METADATA_KEY: description}))
        else:
            torch = _torch(path)
            tensors = {name: torch.from_numpy(array) for name, array in state.items()}
            torch.save({"state_dict": tensors, METADATA_KEY: description}, temporary)


def load(path: Path) -> Artifact:
    """The artifact in a file from `save` or `torch_model.MamKPD.save_pth`.

    Args:
        path: ends in one of `SUFFIXES`.

    Raises:
        UserError: the file can't be read, holds something else, or its weights don't fit the model it describes.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file; give a .safetensors, .pth or .pt file of weights")
    state, description = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    try:
        return from_torch(_unwrapped(state), description)
    except UserError as error:
        raise UserError(f"{path} has no weights that this package can use: {error}") from error


def to_torch(artifact: Artifact) -> dict[str, np.ndarray]:
    """The state dict of `torch_model.MamKPD`."""
    state = {}
    for name, array in by_name((artifact.params, artifact.batch_stats)).items():
        path, converted = torch_name(name), layout(name, array.ndim).to_torch(np.asarray(array))
        state[path] = np.array(converted, order="C")  # a copy, which PyTorch may write to
        if path.endswith("running_mean"):
            state[path.replace("running_mean", COUNTER)] = np.zeros((), np.int64)
    return state


def from_torch(state: Mapping[str, np.ndarray], description: Any) -> Artifact:
    """The inverse of `to_torch`; `description` is the result of `Artifact.description`.

    Raises:
        UserError: the description is invalid, or the weights don't fit it; the message lists the differences.
    """
    model = described(description)
    _check_sizes(state, model.config.model)
    expected = shapes(model)
    names = by_name(expected)
    _check_tensors(state, names)
    leaves = [
        np.ascontiguousarray(layout(name, leaf.ndim).from_torch(state[torch_name(name)]))
        for name, leaf in names.items()
    ]
    return with_arrays(model, *jax.tree.unflatten(jax.tree.structure(expected), leaves))


def _unwrapped(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict without the prefixes that wrappers add to all names."""
    for prefix in _WRAPPERS:
        if state and all(name.startswith(prefix) for name in state):
            return _unwrapped({name.removeprefix(prefix): array for name, array in state.items()})
    return state


def _check_sizes(state: Mapping[str, np.ndarray], model: ModelConfig) -> None:
    """Refuses a description that is larger than the tensors, before a huge model is built from it."""
    blocks, widest = sum(model.depths), max(*model.dims, model.decoder_dim)
    largest = max((size for array in state.values() for size in array.shape), default=0)
    if blocks > len(state) or widest > largest:
        raise UserError(
            f"it has {len(state)} tensors with axes of up to {largest}; its description has {blocks} blocks of up to "
            f"{widest} channels"
        )


def _check_tensors(state: Mapping[str, np.ndarray], names: Mapping[str, Any]) -> None:
    """Raises UserError for tensors that are missing, unknown or of another kind; batch counters are optional."""
    expected = {}
    for name, leaf in names.items():
        empty = np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)  # takes no memory, whatever its size
        expected[torch_name(name)] = layout(name, leaf.ndim).to_torch(empty)
    counters = {path.replace("running_mean", COUNTER) for path in expected if path.endswith("running_mean")}
    found = {path: array for path, array in state.items() if path not in counters}
    differences = [f"{path} is missing" for path in expected if path not in found]
    differences += [f"{path} is not of this model" for path in found if path not in expected]
    for path in expected.keys() & found.keys():
        ours, theirs = expected[path], found[path]
        if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            differences.append(f"{path} is {theirs.dtype} {theirs.shape}, expected {ours.dtype} {ours.shape}")
    if differences:
        more = f"; and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
        raise UserError(f"they don't fit their description: {'; '.join(sorted(differences)[:_NAMED])}{more}")


def _rounded(array: np.ndarray) -> np.ndarray:
    return array.astype(jnp.bfloat16) if array.ndim > 1 else array  # a norm's weight has one axis


def _torch(path: Path) -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path}: {error}; .pth and .pt files need `pip install '.[torch]'` in the repository, .safetensors none"
        ) from error
    return torch


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    try:
        with safe_open(path, framework="numpy") as file:
            description = (file.metadata() or {}).get(METADATA_KEY)
            state = {}
            for name in file.keys():
                try:
                    array = file.get_tensor(name)
                    state[name] = array.astype(np.float32) if array.dtype == jnp.bfloat16 else array
                except (TypeError, AttributeError) as error:  # a type that numpy lacks
                    raise _unreadable(path, name, file.get_slice(name).get_dtype()) from error
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or no safetensors file ({error}); write or copy it again") from error
    return state, parsed(description, path, _WRITTEN_BY)


def _read_pth(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    torch = _torch(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns about a pickle before it refuses it
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise errors of many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is damaged, no PyTorch file, or has more than weights, which could run code ({reason}); write it "
            "with MamKPD.save_pth of torch_model.py"
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
    return arrays, parsed(saved.get(METADATA_KEY), path, _WRITTEN_BY)


def _unreadable(path: Path, name: str, kind: str) -> UserError:
    return UserError(f"{path}: {name} is {kind}; expected float32, dense: write the file again after model.float()")


def parsed(description: object, path: Path, expected: str) -> dict:
    """The description in a file's metadata.

    Args:
        expected: what kind of file has one, for the message.

    Raises:
        UserError: the file has no description.
    """
    try:
        found = json.loads(description)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} has no description of its model under the key {METADATA_KEY!r}; give {expected}")
    return found
