"""The interface of engines, which run a model on crops: in JAX, or from an exported file."""

import abc
import dataclasses
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mamkpd_jax.artifact.artifact import Description
from mamkpd_jax.config import Config

Batch = UInt8[np.ndarray, "n h w 3"]


class Engine(abc.ABC):
    """Runs a model on crops. Its results have a row for each crop, then rows of padding.

    Attributes:
        model: its description; `config.eval.flip_test` is whether this engine applies the flip test.
        batch_size: the number of crops in a full batch, which is the most per call.
    """

    model: Description
    batch_size: int

    @abc.abstractmethod
    def predict(self, crops: Batch, *, alone: bool) -> tuple[Any, Any]:
        """Keypoints [n2, j, 2] in pixels of the crop and scores [n2, j]; may return before the device is done.

        Args:
            alone: whether this is the only crop to predict. Else a result must not depend on how full its batch is.
        """

    @abc.abstractmethod
    def outputs(self, crops: Batch) -> Any:
        """The head's outputs after the flip test, for `decode` and `maps`; may return before the device is done.

        If an exported file decodes, its outputs are keypoints and scores.
        """

    @abc.abstractmethod
    def decode(self, outputs: Any) -> tuple[Any, Any]:
        """Keypoints and scores of `outputs`, as from `predict`."""

    @abc.abstractmethod
    def maps(self, outputs: Any) -> Any:
        """Maps [n2, h, w, j] of `outputs`, as from `Head.maps`."""

    @abc.abstractmethod
    def digest(self) -> str:
        """SHA-256 of everything that keypoints depend on, except the flip test."""


def with_flip_test(config: Config, flip_test: bool) -> Config:
    """A copy of the config with this `eval.flip_test`."""
    return dataclasses.replace(config, eval=dataclasses.replace(config.eval, flip_test=flip_test))


def padded(crops: Batch, size: int) -> UInt8[np.ndarray, "{size} h w 3"]:
    """The crops, filled up to `size` with copies of the first."""
    return np.concatenate([crops, np.repeat(crops[:1], size - len(crops), axis=0)])
