"""What a head has to do."""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

from flax import nnx
from jax import Array
from jaxtyping import Float

from mamkpd_jax.codec import AnyArray
from mamkpd_jax.config import Config, HeadConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import HEADS
from mamkpd_jax.skeletons import Skeleton


class Head(abc.ABC):
    """Everything between features and keypoints: parameters, targets and loss, flip, decoding.

    Outputs are what the decoder computes for crops: an array whose first axis is the crop. A head has no state: its
    parameters belong to the module that `decoder` makes.
    """

    config: ClassVar[type[HeadConfig]]  # of its section of the config
    output: ClassVar[str]  # the name that exported models give the outputs
    joint_layers: ClassVar[tuple[str, ...]]  # of the decoder: those whose size depends on the joints
    # Of the decoder: a 1x1 convolution from what its method `hidden` gives to the outputs, where it ends in one.
    linear_layer: ClassVar[str] = ""

    def __init__(self, config: Config, skeleton: Skeleton):
        self.model, self.skeleton = config.model, skeleton

    @classmethod
    def twin(cls) -> Any:
        """Its part of the PyTorch twin: a module that is made from a description, as `torch_model.HeatmapHead` is.

        ONNX files are made of it. Only this method may import torch.
        """
        raise UserError(f"{cls.__name__} has no part in PyTorch, of which ONNX files are made; export to .stablehlo")

    @abc.abstractmethod
    def decoder(self, *, rngs: nnx.Rngs) -> nnx.Module:
        """The module from the encoder's features [b, h, w, d] to the outputs, in fp32."""

    @abc.abstractmethod
    def encode(
        self, keypoints_px: Float[Array, "b j 2"], visible: Float[Array, "b j"]
    ) -> tuple[Float[Array, "b ..."], Float[Array, "b j"]]:
        """Targets, which are outputs as they should be, and a weight for each joint.

        Args:
            keypoints_px: in pixels of the crop.
            visible: above 0 where the joint is labelled.
        """

    @abc.abstractmethod
    def loss(
        self, outputs: Float[Array, "b ..."], targets: Float[Array, "b ..."], weights: Float[Array, "b j"]
    ) -> Float[Array, ""]:
        """The training loss, in fp32."""

    # The outputs of an exported file are NumPy arrays. Where these three stay in the array's own namespace, prediction
    # from the file runs nothing in JAX.

    @abc.abstractmethod
    def flip(self, outputs: Float[AnyArray, "b ..."]) -> Float[AnyArray, "b ..."]:
        """The outputs for a mirrored crop as those for the crop, to be averaged with them."""

    @abc.abstractmethod
    def decode(self, outputs: Float[AnyArray, "b ..."]) -> tuple[Float[AnyArray, "b j 2"], Float[AnyArray, "b j"]]:
        """Keypoints in pixels of the crop, and their scores."""

    def maps(self, outputs: Float[AnyArray, "b ..."]) -> Float[AnyArray, "b h w j"]:
        """Outputs or targets as a map for each joint, 0 to 1, for pictures; a map of one 0 shows nothing."""
        xp: Any = outputs.__array_namespace__()
        return xp.zeros((len(outputs), 1, 1, self.skeleton.n_joints), xp.float32)

    def stride(self, layer: Sequence[Any]) -> int:
        """Input pixels a side of a position that a layer of the decoder, given by its path, is applied to."""
        del layer
        return self.model.stride


def head_of(config: Config, skeleton: Skeleton) -> Head:
    """The head that `config.head` describes, for the joints of a skeleton.

    Raises:
        UserError: there is no such kind.
    """
    return HEADS[config.head.kind](config, skeleton)
