"""Names and layouts of weights in PyTorch, a rule for a kind of leaf: the twin's layers have our names."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# PyTorch's BatchNorm counts its batches, ours does not: written as 0, not read. It plays no part in the arithmetic.
COUNTER = "num_batches_tracked"
# A leaf has our name unless it is here.
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


class Layout(NamedTuple):
    """What a weight's axes become in PyTorch, and back."""

    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


_SAME = Layout(lambda x: x, lambda x: x)
# Kernels by their number of axes: linear ones, depth-wise ones [h, w, c] and convolutions [h, w, in, out].
_KERNELS = {
    2: Layout(lambda x: x.T, lambda x: x.T),
    3: Layout(lambda x: x.transpose(2, 0, 1)[:, None], lambda x: x[:, 0].transpose(1, 2, 0)),
    4: Layout(lambda x: x.transpose(3, 2, 0, 1), lambda x: x.transpose(2, 3, 1, 0)),
}
# Our kernel is correlated with the dilated input; PyTorch's is that kernel turned by 180 degrees.
_DECONVOLUTION = Layout(
    lambda x: x[::-1, ::-1].transpose(2, 3, 0, 1),
    lambda x: x.transpose(2, 3, 0, 1)[::-1, ::-1],
)


def torch_name(name: str) -> str:
    """PyTorch's name of a weight that is called `name` here."""
    layer, _, leaf = name.rpartition(".")
    return f"{layer}.{_LEAVES.get(leaf, leaf)}"


def layout(name: str, n_axes: int) -> Layout:
    """How PyTorch orders the axes of a weight that is called `name` here.

    Raises:
        ValueError: a kernel has a number of axes for which there is no rule.
    """
    if not name.endswith(".kernel"):
        return _SAME
    if ".deconvs." in name:
        return _DECONVOLUTION
    if n_axes not in _KERNELS:
        raise ValueError(f"no conversion rule matches the kernel {name!r} of {n_axes} axes; add one to _KERNELS")
    return _KERNELS[n_axes]
