"""A model without one of its parts, which tells what the part takes: the whole's time less that of the rest."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from flax import nnx

from mamkpd_jax.nn import layers, ss2d


def _same(*arguments: object, **_: object) -> object:
    """The map that a function, or the method of a module, is given."""
    return arguments[-1]


# What takes the place of a part. Without its scan SS2D does not need the scan's projections, which count with it.
_REPLACED = {
    "scan": [(ss2d, "ss2d_scan", lambda u, *_, **__: u)],
    "depth-wise": [(layers.DepthwiseConv, "__call__", lambda self, x: x[:, :: self.stride, :: self.stride])],
    "norms": [(nnx.LayerNorm, "__call__", _same), (nnx.BatchNorm, "__call__", _same)],
    "activations": [(nnx, name, _same) for name in ("silu", "gelu", "relu")],
}
PARTS = tuple(_REPLACED)


@contextlib.contextmanager
def without(part: str | None) -> Iterator[None]:
    """Models that are traced meanwhile lack the part, one of `PARTS`; None leaves them whole."""
    with contextlib.ExitStack() as patches:
        for place, name, replacement in _REPLACED[part] if part else ():
            patches.enter_context(mock.patch.object(place, name, replacement))
        yield


def by_part(whole_ms: float, without_ms: dict[str, float]) -> dict[str, float]:
    """What each part takes, and "dense", the rest: matrix products and convolutions."""
    parts = {part: whole_ms - ms for part, ms in without_ms.items()}
    return parts | {"dense": whole_ms - sum(parts.values())}
