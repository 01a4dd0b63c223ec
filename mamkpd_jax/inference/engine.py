"""What runs a model on crops: the part of prediction in which JAX and an exported file differ."""

import abc
import dataclasses
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mamkpd_jax.artifact.artifact import Description
from mamkpd_jax.config import Config

Batch = UInt8[np.ndarray, "n h w 3"]


class Engine(abc.ABC):
    """A model, ready for crops. What it returns has a row for each crop, and then rows that are padding.

    Attributes:
        model: its description; `config.eval.flip_test` is whether this engine sees each crop in the mirror too.
        batch_size: crops of a full batch, and at most.
    """

    model: Description
    batch_size: int

    @abc.abstractmethod
    def predict(self, crops: Batch, *, alone: bool) -> tuple[Any, Any]:
        """Keypoints [n2, j, 2] in pixels of the crop and scores [n2, j]; may not wait for the device.

        Args:
            alone: the only crop that is to be predicted. Else a crop may not depend on how full its batch is.
        """

    @abc.abstractmethod
    def outputs(self, crops: Batch) -> Any:
        """The head's outputs, the flip test included, for `decode` and `maps`; may not wait for the device.

        Of an exported file that decodes they are keypoints and scores.
        """

    @abc.abstractmethod
    def decode(self, outputs: Any) -> tuple[Any, Any]:
        """Keypoints and scores as those of `predict`."""

    @abc.abstractmethod
    def maps(self, outputs: Any) -> Any:
        """Maps [n2, h, w, j] as those of `Head.maps`."""

    @abc.abstractmethod
    def digest(self) -> str:
        """SHA-256 of everything that keypoints depend on, except the flip test."""


def with_flip_test(config: Config, flip_test: bool) -> Config:
    """The config with this `eval.flip_test`."""
    return dataclasses.replace(config, eval=dataclasses.replace(config.eval, flip_test=flip_test))


def padded(crops: Batch, size: int) -> UInt8[np.ndarray, "{size} h w 3"]:
    """The crops, filled up to `size` with copies of the first."""
    return np.concatenate([crops, np.repeat(crops[:1], size - len(crops), axis=0)])
