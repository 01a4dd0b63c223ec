"""How the names and layouts of this package's weights map to those of `torch_model`: one ordered table."""

import re
from collections.abc import Callable

import numpy as np

Reorder = Callable[[np.ndarray], np.ndarray]

# Pairs of functions, there and back: what a weight's axes become in PyTorch.
_SAME: tuple[Reorder, Reorder] = (lambda x: x, lambda x: x)
_LINEAR: tuple[Reorder, Reorder] = (lambda x: x.T, lambda x: x.T)  # in out -> out in
_CONV: tuple[Reorder, Reorder] = (lambda x: x.transpose(3, 2, 0, 1), lambda x: x.transpose(2, 3, 1, 0))
_DEPTHWISE: tuple[Reorder, Reorder] = (lambda x: x.transpose(2, 0, 1)[:, None], lambda x: x[:, 0].transpose(1, 2, 0))
# Our kernel is correlated with the dilated input; PyTorch's is that kernel turned by 180 degrees.
_DECONV: tuple[Reorder, Reorder] = (
    lambda x: x[::-1, ::-1].transpose(2, 3, 0, 1),
    lambda x: x.transpose(2, 3, 0, 1)[::-1, ::-1],
)
_X_PROJ: tuple[Reorder, Reorder] = (lambda x: x.transpose(1, 2, 0), lambda x: x.transpose(2, 0, 1))  # d k p -> k p d
_DT: tuple[Reorder, Reorder] = (lambda x: x.swapaxes(1, 2), lambda x: x.swapaxes(1, 2))  # k r d -> k d r

# (our name, PyTorch's name, the pair). The first row that matches a whole name is the one that counts.
RULES: tuple[tuple[str, str, tuple[Reorder, Reorder]], ...] = (
    (r"encoder\.(.+)\.ss2d\.x_proj", r"backbone.\1.ss2d.x_proj_weight", _X_PROJ),
    (r"encoder\.(.+)\.ss2d\.dt_weight", r"backbone.\1.ss2d.dt_proj_weight", _DT),
    (r"encoder\.(.+)\.ss2d\.dt_bias", r"backbone.\1.ss2d.dt_proj_bias", _SAME),
    (r"encoder\.(.+)\.ss2d\.(A_log|D)", r"backbone.\1.ss2d.\2", _SAME),
    (r"encoder\.(.+)\.mlp_in\.kernel", r"backbone.\1.mlp.fc1.weight", _LINEAR),
    (r"encoder\.(.+)\.mlp_in\.bias", r"backbone.\1.mlp.fc1.bias", _SAME),
    (r"encoder\.(.+)\.mlp_out\.kernel", r"backbone.\1.mlp.fc2.weight", _LINEAR),
    (r"encoder\.(.+)\.mlp_out\.bias", r"backbone.\1.mlp.fc2.bias", _SAME),
    (r"encoder\.(.+)\.mlp_norm\.scale", r"backbone.\1.norm2.weight", _SAME),
    (r"encoder\.(.+)\.mlp_norm\.bias", r"backbone.\1.norm2.bias", _SAME),
    (r"encoder\.(.+\.blocks\.\d+)\.norm\.scale", r"backbone.\1.norm1.weight", _SAME),
    (r"encoder\.(.+\.blocks\.\d+)\.norm\.bias", r"backbone.\1.norm1.bias", _SAME),
    (
        r"encoder\.(.+\.(?:inter|embed_conv|intra_conv|ss2d\.conv|depthwise\.\d+))\.kernel",
        r"backbone.\1.weight",
        _DEPTHWISE,
    ),
    (r"encoder\.(.+\.(?:in_proj|out_proj|intra|reduction))\.kernel", r"backbone.\1.weight", _LINEAR),
    (r"encoder\.(.+(?:conv|embed))\.kernel", r"backbone.\1.weight", _CONV),
    (r"encoder\.(.+)\.scale", r"backbone.\1.weight", _SAME),
    (r"encoder\.(.+)\.bias", r"backbone.\1.bias", _SAME),
    (r"encoder\.(.+)\.(mean|var)", r"backbone.\1.running_\2", _SAME),
    (r"decoder\.deconvs\.(\d+)\.kernel", r"head.deconv.\1.weight", _DECONV),
    (r"decoder\.norms\.(\d+)\.scale", r"head.norm.\1.weight", _SAME),
    (r"decoder\.norms\.(\d+)\.bias", r"head.norm.\1.bias", _SAME),
    (r"decoder\.norms\.(\d+)\.(mean|var)", r"head.norm.\1.running_\2", _SAME),
    (r"decoder\.head\.kernel", r"head.final.weight", _CONV),
    (r"decoder\.head\.bias", r"head.final.bias", _SAME),
)

# PyTorch's BatchNorm counts its batches, ours does not: written as 0, not read. It plays no part in the arithmetic.
COUNTER = "num_batches_tracked"


def rule(name: str) -> tuple[str, Reorder, Reorder]:
    """PyTorch's name of our weight `name`, and the functions that reorder its axes there and back.

    Raises:
        ValueError: no row matches.
    """
    for pattern, path, (there, back) in RULES:
        if match := re.fullmatch(pattern, name):
            return match.expand(path), there, back
    raise ValueError(f"no conversion rule matches the weight {name!r}; add a row to RULES")
