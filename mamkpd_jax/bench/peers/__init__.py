"""Other top-down networks in PyTorch, trained on this project's batches and scored by its evaluator.

This module needs no PyTorch.
"""

import math
from importlib.util import find_spec

from mamkpd_jax.errors import UserError

PEERS = {"simple_baseline": "torch", "hrnet_w32": "timm", "vit_s": "timm"}  # the package that each one needs
RESIZABLE = "simple_baseline"
_NARROWEST = 1 / 64  # one channel in the first layer


def check(peer: str) -> tuple[str, float]:
    """The name of a peer and its channel multiplier.

    Args:
        peer: NAME or NAME:WIDTH, such as "simple_baseline:0.25".

    Raises:
        UserError: there is no such peer, it can't have this width, or its package is not installed.
    """
    name, _, multiplier = peer.partition(":")
    if name not in PEERS:
        raise UserError(f"there is no peer {name!r}; expected one of {', '.join(PEERS)}")
    try:
        width = float(multiplier or 1)
    except ValueError:
        width = math.nan
    if name == RESIZABLE:
        if not _NARROWEST <= width < math.inf:
            raise UserError(f"{peer!r}: expected a width of at least 1/64, such as {name}:0.25")
    elif width != 1:
        raise UserError(f"{peer!r}: {name} takes no width; only {RESIZABLE} does")
    if not find_spec(PEERS[name]):
        raise UserError(f"{name} needs {PEERS[name]}, which is not installed; run: pip install '.[peers]'")
    return name, width
