"""Names and layouts of weights in PyTorch, by kind of leaf. The twin's layers have the same names as ours."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# PyTorch's BatchNorm counts batches, ours doesn't. Its counter is written as 0 and never read, and changes no result.
COUNTER = "num_batches_tracked"
# A leaf has our name unless it is here.
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


class Layout(NamedTuple):
    """How to reorder a weight's axes for PyTorch, and back."""

    to_torch: Callable[[np.ndarray], np.ndarray]
    from_torch: Callable[[np.ndarray], np.ndarray]


_SAME = Layout(lambda x: x, lambda x: x)
# Kernels by their number of axes: linear [in, out], depth-wise [h, w, c] and convolution [h, w, in, out].
_KERNELS = {
    2: Layout(lambda x: x.T, lambda x: x.T),
    3: Layout(lambda x: x.transpose(2, 0, 1)[:, None], lambda x: x[:, 0].transpose(1, 2, 0)),
    4: Layout(lambda x: x.transpose(3, 2, 0, 1), lambda x: x.transpose(2, 3, 1, 0)),
}
# Our kernel is correlated with the dilated input; PyTorch's is the same kernel rotated by 180 degrees.
_DECONVOLUTION = Layout(
    lambda x: x[::-1, ::-1].transpose(2, 3, 0, 1),
    lambda x: x.transpose(2, 3, 0, 1)[::-1, ::-1],
)


def torch_name(name: str) -> str:
    """PyTorch's name for our weight `name`."""
    layer, _, leaf = name.rpartition(".")
    return f"{layer}.{_LEAVES.get(leaf, leaf)}"


def layout(name: str, n_axes: int) -> Layout:
    """The conversion between our axes of the weight `name` and PyTorch's.

    Raises:
        ValueError: there is no rule for a kernel with this number of axes.
    """
    if not name.endswith(".kernel"):
        return _SAME
    if ".deconvs." in name:
        return _DECONVOLUTION
    if n_axes not in _KERNELS:
        raise ValueError(f"no conversion rule matches the kernel {name!r} of {n_axes} axes; add one to _KERNELS")
    return _KERNELS[n_axes]
