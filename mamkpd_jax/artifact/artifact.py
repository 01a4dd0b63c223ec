"""A trained model in one object: config, skeleton, step and weights, and its description in every file format."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import mamkpd_jax
from mamkpd_jax.config import Config, from_dict
from mamkpd_jax.data.transforms import BOX_PADDING
from mamkpd_jax.environment import commit
from mamkpd_jax.errors import UserError
from mamkpd_jax.model.mamkpd import MEAN, STD, abstract, split, variant_name
from mamkpd_jax.skeleton_files import check_skeleton
from mamkpd_jax.skeletons import Skeleton

Tree = dict[str, Any]

# The package normalises images by these. Files record them, and readers check them.
_NORMALIZATION = {"mean": list(MEAN), "std": list(STD)}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a reader needs to know about weights to use them."""

    config: Config
    skeleton: Skeleton
    step: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Artifact(Description):
    """A description with its fp32 parameters and batch statistics, nested by layer name as in `TrainState`."""

    params: Tree
    batch_stats: Tree

    def description(self) -> Tree:
        """The description in JSON types, with further fields for programs outside this package."""
        return {
            "variant": variant_name(self.config.model),
            **describe(self),
            **_NORMALIZATION,
            "flip_indices": self.skeleton.flip_indices,
            "box_padding": BOX_PADDING,
            "version": mamkpd_jax.__version__,
            "commit": commit(),
        }


def describe(model: Description) -> Tree:
    """The description as a dict of JSON types and tuples, which `described` reads."""
    return {
        "config": dataclasses.asdict(model.config),
        "skeleton": dataclasses.asdict(model.skeleton),
        "step": model.step,
    }


def described(saved: Any) -> Description:
    """The inverse of `describe`, validated. The scan becomes "auto": this device may not support the training run's.

    Raises:
        UserError: a field is missing, unknown or invalid.
    """
    fields = saved if isinstance(saved, dict) else {}
    for name, ours in _NORMALIZATION.items():
        if fields.get(name, ours) != ours:
            raise UserError(f"{name} is {fields[name]!r}; expected {ours!r}, by which this package normalises images")
    known = {name: fields[name] for name in ("config", "skeleton", "step") if name in fields}
    found = from_dict(Description, known, "the description")
    found.config.validate()
    check_skeleton(found.skeleton)
    if not 0 <= found.step < 2**31:
        raise UserError(f"the step is {found.step}; expected 0 to 2**31 - 1")
    return dataclasses.replace(found, config=without_scan(found.config))


def without_scan(config: Config) -> Config:
    """The config with `model.scan` set to "auto", which suits any device."""
    return dataclasses.replace(config, model=dataclasses.replace(config.model, scan="auto"))


def shapes(model: Description) -> tuple[Tree, Tree]:
    """The parameters and batch statistics of a described model, as `jax.ShapeDtypeStruct`s."""
    return split(abstract(model.config, model.skeleton))[1:]


def with_arrays(model: Description, params: Tree, batch_stats: Tree) -> Artifact:
    """The described model with its arrays.

    Raises:
        UserError: an array has NaN or infinity, which would silently predict the crop's corner.
    """
    for name, array in by_name((params, batch_stats)).items():
        if not np.isfinite(array).all():
            raise UserError(f"{name} has NaN or infinity; give weights that are finite")
    return Artifact(
        config=model.config, skeleton=model.skeleton, step=model.step, params=params, batch_stats=batch_stats
    )


def by_name(trees: tuple[Mapping, Mapping]) -> dict[str, Any]:
    """The leaves of parameters and batch statistics by their dotted names, in the order of jax.tree.leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    return {".".join(str(key.key) for key in path[1:]): leaf for path, leaf in leaves}
