"""Starts a run from other weights, whose joints may differ."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import traverse_util
from jax.typing import ArrayLike

from mamkpd_jax.artifact.artifact import Artifact, Description, shapes
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.config import Config
from mamkpd_jax.errors import UserError
from mamkpd_jax.training.state import TrainState


def start_from(state: TrainState, artifact: Artifact, source: str, joint_layers: Collection[str]) -> TrainState:
    """A fresh `state` with a trained model's weights. If the joints differ, layers that depend on them stay fresh.

    Args:
        source: where the weights are from, for messages.
        joint_layers: the decoder's layers that depend on the joints (`Head.joint_layers`).

    Raises:
        UserError: any other layer is missing, unknown or of another size.
    """
    params, batch_stats = artifact.params, artifact.batch_stats
    ours, theirs = traverse_util.flatten_dict(state.params), traverse_util.flatten_dict(params)
    other = _differing(ours, theirs, source, joint_layers)
    if other:
        logging.info("the last layer is reinitialised: %s has other joints than this data set", source)
    taken = {name: value if name in other else theirs[name] for name, value in ours.items()}
    place = jax.tree.map(_placed, traverse_util.unflatten_dict(taken), state.params)
    average = None if state.ema is None else jax.tree.map(jnp.copy, place)  # a copy, as a step donates both
    return state.replace(params=place, batch_stats=jax.tree.map(_placed, batch_stats, state.batch_stats), ema=average)  # type: ignore


def read_start(config: Config) -> Artifact | None:
    """The trained model that `config.init_from` names, None if that is empty.

    It needs no data set, so that a wrong model is refused before the data set is opened.

    Raises:
        UserError: the weights can't be read, or don't fit the model that `config` describes.
    """
    if not config.init_from:
        return None
    artifact = read_artifact(config.init_from)
    expected, _ = shapes(Description(config=config, skeleton=artifact.skeleton, step=0))
    _differing(traverse_util.flatten_dict(expected), traverse_util.flatten_dict(artifact.params), config.init_from)
    return artifact


def _differing(
    ours: dict[tuple, Any], theirs: dict[tuple, Any], source: str, joint_layers: Collection[str] = ()
) -> set[tuple]:
    """The names of parameters whose shapes differ; raises UserError for one outside the decoder's `joint_layers`."""
    other = {name for name in ours.keys() | theirs.keys() if _shape(ours, name) != _shape(theirs, name)}
    wrong = sorted(".".join(map(str, name)) for name in other if name[0] != "decoder" or name[1] not in joint_layers)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"config.init_from: {source} is of another model, it differs in {', '.join(wrong[:3])}{more}; give its "
            "config.model and config.head"
        )
    return other


def _placed(new: ArrayLike, old: jax.Array) -> jax.Array:
    return jax.device_put(np.asarray(new), old.sharding)


def _shape(arrays: dict[tuple, Any], name: tuple) -> tuple[int, ...] | None:
    return arrays[name].shape if name in arrays else None
