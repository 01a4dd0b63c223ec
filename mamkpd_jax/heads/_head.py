"""The interface of heads."""

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

    config: ClassVar[type[HeadConfig]]  # the type of `config.head`
    output: ClassVar[str]  # the name of the outputs in exported models
    joint_layers: ClassVar[tuple[str, ...]]  # the decoder's layers whose size depends on the joints
    # The decoder's last layer, if that is a 1x1 convolution from the result of its method `hidden` to the outputs.
    linear_layer: ClassVar[str] = ""

    def __init__(self, config: Config, skeleton: Skeleton):
        self.model, self.skeleton = config.model, skeleton

    @classmethod
    def twin(cls) -> Any:
        """The head's class in the PyTorch twin, which takes a description, like `torch_model.HeatmapHead`.

        The export to ONNX needs it. Only this method may import torch.

        Raises:
            UserError: this head has none.
        """
        raise UserError(f"{cls.__name__} has no PyTorch module, which ONNX files need; export to .stablehlo")

    @abc.abstractmethod
    def decoder(self, *, rngs: nnx.Rngs) -> nnx.Module:
        """The module from the encoder's features [b, h, w, d] to the outputs, in fp32."""

    @abc.abstractmethod
    def encode(
        self, keypoints_px: Float[Array, "b j 2"], visible: Float[Array, "b j"]
    ) -> tuple[Float[Array, "b ..."], Float[Array, "b j"]]:
        """Targets, which are the ideal outputs, and a weight for each joint.

        Args:
            keypoints_px: labelled keypoints in pixels of the crop.
            visible: above 0 where the joint is labelled.
        """

    @abc.abstractmethod
    def loss(
        self, outputs: Float[Array, "b ..."], targets: Float[Array, "b ..."], weights: Float[Array, "b j"]
    ) -> Float[Array, ""]:
        """The training loss, in fp32."""

    # The outputs of an exported file are NumPy arrays. If these three methods stay in the array's namespace, prediction
    # from the file runs nothing in JAX.

    @abc.abstractmethod
    def flip(self, outputs: Float[AnyArray, "b ..."]) -> Float[AnyArray, "b ..."]:
        """Maps the outputs for a mirrored crop back to the crop, so that both can be averaged."""

    @abc.abstractmethod
    def decode(self, outputs: Float[AnyArray, "b ..."]) -> tuple[Float[AnyArray, "b j 2"], Float[AnyArray, "b j"]]:
        """Keypoints in pixels of the crop, and their scores."""

    def maps(self, outputs: Float[AnyArray, "b ..."]) -> Float[AnyArray, "b h w j"]:
        """A map for each joint, from 0 to 1, of outputs or targets, for pictures. The default shows nothing."""
        xp: Any = outputs.__array_namespace__()
        return xp.zeros((len(outputs), 1, 1, self.skeleton.n_joints), xp.float32)

    def stride(self, layer: Sequence[Any]) -> int:
        """The stride, in pixels of the crop, of the map that a decoder layer is applied to; `layer` is its path."""
        del layer
        return self.model.stride


def head_of(config: Config, skeleton: Skeleton) -> Head:
    """The head that `config.head` describes, for the joints of a skeleton.

    Raises:
        UserError: there is no such kind.
    """
    return HEADS[config.head.kind](config, skeleton)
