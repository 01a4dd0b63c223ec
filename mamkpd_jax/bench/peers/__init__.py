"""Other top-down networks in PyTorch, trained on this project's batches and scored by its evaluator.

Here stands what can be asked without PyTorch.
"""

import math
from importlib.util import find_spec

from mamkpd_jax.errors import UserError

PEERS = {"simple_baseline": "torch", "hrnet_w32": "timm", "vit_s": "timm"}  # and the package that each needs
RESIZABLE = "simple_baseline"
_NARROWEST = 1 / 64  # one channel in the first layer


def check(peer: str) -> tuple[str, float]:
    """The name of a peer, and the factor of its channels, from NAME or NAME:WIDTH; UserError if it can't be built."""
    name, _, told = peer.partition(":")
    if name not in PEERS:
        raise UserError(f"there is no peer {name!r}; expected one of {', '.join(PEERS)}")
    try:
        width = float(told or 1)
    except ValueError:
        width = math.nan
    if name == RESIZABLE:
        if not _NARROWEST <= width < math.inf:
            raise UserError(f"{peer!r}: expected a width from 1/64 on, such as {name}:0.25")
    elif width != 1:
        raise UserError(f"{peer!r}: {name} has one width; {RESIZABLE} alone can be made narrow")
    if not find_spec(PEERS[name]):
        raise UserError(f"{name} needs {PEERS[name]}, which is not installed; pip install -e '.[peers]'")
    return name, width
