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
    """The name and width of a peer, told as NAME or NAME:WIDTH.

    The width is that by which `simple_baseline`'s channels are multiplied; timm's backbones have their own width alone.

    Raises:
        UserError: there is no such peer, it does not come in this width, or its package is not installed.
    """
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
