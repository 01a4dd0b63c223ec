"""Fits the last layer of a trained model to other keypoints, by least squares."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.config import Config
from mamkpd_jax.heads._head import head_of
from mamkpd_jax.model.mamkpd import abstract, normalize
from mamkpd_jax.skeletons import Skeleton

_RIDGE = 1e-4  # relative to the mean square of the hidden features


def fit_last_layer(
    artifact: Artifact, config: Config, skeleton: Skeleton, batches: Iterator[Mapping[str, np.ndarray]], n: int
) -> Artifact:
    """The trained model with a new last layer for the joints of `skeleton`; all other layers stay as they are.

    The last layer is a ridge regression from the hidden features to the targets, over all positions of the crops in
    `n` training batches. Each joint uses only the crops where it is labelled.

    Args:
        config: the new model's, whose head has a `linear_layer`.
    """
    head = head_of(config, skeleton)
    graphdef = nnx.graphdef(abstract(artifact.config, artifact.skeleton))

    @jax.jit
    def products(params: Any, batch_stats: Any, batch: Mapping[str, Array]) -> tuple[Array, Array]:
        """Each joint's sums of x x' and x y, for hidden features x, with a 1 for the bias, and targets y."""
        model = nnx.merge(graphdef, params, batch_stats, copy=True)
        model.eval()
        x = model.decoder.hidden(model.encoder(normalize(batch["image"]))).astype(jnp.float32)
        x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
        targets, weights = head.encode(batch["keypoints"], batch["visible"])
        squares = jnp.einsum("bhwc,bhwd->bcd", x, x)
        return jnp.einsum("bcd,bj->jcd", squares, weights), jnp.einsum("bhwc,bhwj,bj->jc", x, targets, weights)

    squares: Any = 0.0
    mixed: Any = 0.0
    for _ in range(n):
        batch = next(batches)
        inputs = {name: batch[name] for name in ("image", "keypoints", "visible")}
        more_squares, more_mixed = products(artifact.params, artifact.batch_stats, inputs)
        squares, mixed = squares + np.asarray(more_squares, np.float64), mixed + np.asarray(more_mixed, np.float64)
    size = squares.shape[-1]
    level = np.trace(squares, axis1=1, axis2=2) / size + np.finfo(np.float64).tiny  # a joint may never be labelled
    kernel = np.linalg.solve(squares + _RIDGE * level[:, None, None] * np.eye(size), mixed[..., None])[..., 0].T
    decoder = artifact.params["decoder"]
    old = decoder[head.linear_layer]
    layer = {"kernel": kernel[:-1].reshape(*old["kernel"].shape[:-1], -1), "bias": kernel[-1]}
    layer = {name: array.astype(np.float32) for name, array in layer.items()}
    params = artifact.params | {"decoder": decoder | {head.linear_layer: layer}}
    return Artifact(config=config, skeleton=skeleton, step=0, params=params, batch_stats=artifact.batch_stats)
