"""A model's weights with what must be known to use them, and the same in PyTorch's names and layouts."""

import dataclasses
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import mamkpd_jax
from mamkpd_jax.config import Config, DataConfig, ModelConfig
from mamkpd_jax.convert.torch_rules import COUNTER, rule
from mamkpd_jax.errors import UserError
from mamkpd_jax.model.mamkpd import MEAN, STD, VARIANTS, abstract, split
from mamkpd_jax.skeletons import SKELETONS, Skeleton, make_skeleton

Tree = dict[str, Any]

# What of ModelConfig a model in PyTorch is made from; the rest is this package's own way to compute it.
_SIZES = ("stem", "depths", "dims", "downsampling", "decoder_dim", "d_state", "drop_path")
_DATA = ("dataset", "codec", "sigma_px", "input_hw")
_SKELETON = ("sigmas", "upper_body", "lower_body")  # which files of earlier versions lack
_NAMED = 5  # differences told one by one


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Parameters and batch statistics, nested by layer name as in `TrainState`, fp32; and where they come from."""

    config: Config
    skeleton: Skeleton
    step: int
    params: Tree
    batch_stats: Tree


def metadata(weights: Weights) -> Tree:
    """What a file of weights tells of its model, in JSON's types."""
    config = weights.config
    sizes = {name: getattr(config.model, name) for name in _SIZES}
    return {
        "variant": variant_name(config.model),
        "model": {name: list(size) if isinstance(size, tuple) else size for name, size in sizes.items()},
        "dataset": config.data.dataset,
        **_joints(weights.skeleton),
        "input_hw": list(config.data.input_hw),
        "codec": config.data.codec,
        "sigma_px": config.data.sigma_px,
        "mean": list(MEAN),
        "std": list(STD),
        "step": weights.step,
        "version": mamkpd_jax.__version__,
        "commit": commit(),
    }


def _joints(skeleton: Skeleton) -> Tree:
    return {
        "skeleton": skeleton.name,
        "joints": list(skeleton.joints),
        "flip_indices": list(skeleton.flip_indices),
        "edges": [list(edge) for edge in skeleton.edges],
        **{name: list(getattr(skeleton, name)) for name in _SKELETON},
    }


def variant_name(model: ModelConfig) -> str:
    """The row of `VARIANTS` that has these sizes, or "custom"."""

    def shape(config: ModelConfig) -> list[Any]:
        return [getattr(config, name) for name in _SIZES if name != "drop_path"]

    return next((name for name, config in VARIANTS.items() if shape(config) == shape(model)), "custom")


def to_torch(weights: Weights) -> dict[str, np.ndarray]:
    """The state dict of `torch_model.MamKPD`."""
    state = {}
    for name, array in _by_name(weights.params, weights.batch_stats).items():
        path, there, _ = rule(name)
        state[path] = np.array(there(np.asarray(array)), order="C")  # a copy, which PyTorch may write to
        if path.endswith("running_mean"):
            state[path.replace("running_mean", COUNTER)] = np.zeros((), np.int64)
    return state


def from_torch(state: Mapping[str, np.ndarray], about: Tree, source: Path) -> Weights:
    """The inverse of `to_torch`; `about` is what `metadata` told of it.

    Raises:
        UserError: the weights are not those of the model that `about` describes; names what differs, and `source`.
    """
    config, skeleton, step = _described(about, source)
    _check_sizes(state, config.model, source)
    model = abstract(config.model, skeleton.n_joints)
    expected = split(model)[1:]
    names = _by_name(*expected)
    _check(state, names, source)

    def array(name: str) -> np.ndarray:
        path, _, back = rule(name)
        if not np.isfinite(state[path]).all():
            # Every prediction would be a corner of its crop, without a word.
            raise UserError(f"{source} has NaN or infinity in {path}; write it again from a checkpoint that is sound")
        return np.ascontiguousarray(back(state[path]))

    leaves = [array(name) for name in names]
    params, batch_stats = jax.tree.unflatten(jax.tree.structure(expected), leaves)
    return Weights(config=config, skeleton=skeleton, step=step, params=params, batch_stats=batch_stats)


def _described(about: Tree, source: Path) -> tuple[Config, Skeleton, int]:
    """Config, joints and step, of exactly the types that `metadata` writes."""
    try:
        if unknown := about["model"].keys() - set(_SIZES):
            raise ValueError(f"the model has {', '.join(sorted(unknown))}")
        model = ModelConfig(**{name: _field(about["model"], name, getattr(ModelConfig(), name)) for name in _SIZES})
        skeleton = _skeleton(about)
        data = DataConfig(
            **{name: _field(about, name, getattr(DataConfig(), name)) for name in _DATA},
            skeleton=skeleton.name if about["dataset"] == "custom_coco" and skeleton.name in SKELETONS else "",
        )
        config = Config(model=model, data=data)
        config.validate()
        for name, ours in (("mean", list(MEAN)), ("std", list(STD))):
            if about[name] != ours:
                raise ValueError(f"{name} is {about[name]!r}, expected {ours!r}, by which this package normalises")
        step = _field(about, "step", 0)
        if not 0 <= step < 2**31:
            raise ValueError(f"step is {step}")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, UserError) as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(
            f"{source} does not describe its model as this package does ({reason}); give a file of "
            "`mamkpd convert` or of MamKPD.save_pth"
        ) from error
    return config, skeleton, step


def _field(fields: Tree, name: str, example: Any) -> Any:
    """A field of JSON as the type of the example, a list as a tuple."""

    def alike(value: Any, example: Any) -> bool:
        return type(value) is type(example) or (type(value) is int and type(example) is float)

    value = fields[name]
    if isinstance(example, tuple) and isinstance(value, list) and all(alike(entry, example[0]) for entry in value):
        return tuple(value)
    if not alike(value, example):
        raise TypeError(f"{name} is {value!r}, expected such as {example!r}")
    return value


def _skeleton(about: Tree) -> Skeleton:
    name, flip_indices = _field(about, "skeleton", ""), about["flip_indices"]
    # Files of earlier versions leave some to the ready skeleton.
    fields = {field: list(getattr(SKELETONS[name], field)) for field in _SKELETON} if name in SKELETONS else {}
    fields |= {field: about[field] for field in _SKELETON if field in about}
    pairs = [[joint, other] for joint, other in enumerate(flip_indices) if joint < other]
    fields |= {"joints": about["joints"], "edges": about["edges"], "flip_pairs": pairs}
    skeleton = make_skeleton(name, fields)
    for field, value in _joints(skeleton).items():
        if about.get(field, value) != value:
            raise ValueError(f"{field} is {about[field]!r}, expected such as {value!r}")
    return skeleton


def _check_sizes(state: Mapping[str, np.ndarray], model: ModelConfig, source: Path) -> None:
    """Refuses what no such tensors can be of, before a model is made: that takes as long as it has blocks."""
    blocks, widest = sum(model.depths), max(*model.dims, model.decoder_dim)
    largest = max((size for array in state.values() for size in array.shape), default=0)
    if blocks > len(state) or widest > largest:
        raise UserError(
            f"{source} does not fit the model that it describes: it has {len(state)} tensors of axes up to {largest}, "
            f"for {blocks} blocks of up to {widest} channels"
        )


def _check(state: Mapping[str, np.ndarray], names: Mapping[str, Any], source: Path) -> None:
    """Accounts for every key on both sides; PyTorch's counters of batches may be there or not."""
    expected = {}
    for name, leaf in names.items():
        path, there, _ = rule(name)
        expected[path] = there(np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape))  # of no memory, whatever size
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
        raise UserError(
            f"{source} does not fit the model that it describes: {'; '.join(sorted(differences)[:_NAMED])}{more}"
        )


def not_finite(weights: Weights) -> str | None:
    """The name of the first array with NaN or infinity, None where there is none."""
    arrays = _by_name(weights.params, weights.batch_stats)
    return next((name for name, array in arrays.items() if not np.isfinite(array).all()), None)


def _by_name(params: Tree, batch_stats: Tree) -> dict[str, Any]:
    """The leaves by their dotted names, in the order of jax.tree.leaves((params, batch_stats))."""
    leaves = jax.tree_util.tree_leaves_with_path((params, batch_stats))
    return {".".join(str(key.key) for key in path[1:]): leaf for path, leaf in leaves}  # type: ignore[union-attr]


def commit() -> str | None:
    """The commit of this package's working tree, None where it is no git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
