"""Leaves one part out of a model. The time that this saves is what the part takes."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from flax import nnx

from mamkpd_jax.model import layers, ss2d


def _same(*arguments: object, **_: object) -> object:
    """The map that a function, or the method of a module, is given."""
    return arguments[-1]


# Older checkouts, which the bench `against` times, have Flax's, or lack some of its methods.
_LAYER_NORM = layers.LayerNorm if isinstance(layers.LayerNorm, type) else nnx.LayerNorm
_BATCH_NORM = layers.BatchNorm if isinstance(layers.BatchNorm, type) else nnx.BatchNorm
# What replaces each part. The scan's projections are left out with it, as nothing else needs them.
_REPLACED = {
    "scan": [(ss2d, "ss2d_scan", lambda u, *_, **__: u)],
    "depth-wise": [(layers.DepthwiseConv, "__call__", lambda self, x: x[:, :: self.stride, :: self.stride])],
    "norms": [
        (_LAYER_NORM, "__call__", _same),
        (_LAYER_NORM, "and_input", lambda self, x: (x, x)),
        (_BATCH_NORM, "__call__", _same),
    ],
    "activations": [(nnx, name, _same) for name in ("silu", "gelu", "relu")],
}
PARTS = tuple(_REPLACED)


@contextlib.contextmanager
def without(part: str | None) -> Iterator[None]:
    """Leaves out a part, one of `PARTS`, of the models traced in this context; None leaves out nothing."""
    with contextlib.ExitStack() as patches:
        for place, name, replacement in _REPLACED[part] if part else ():
            if hasattr(place, name):
                patches.enter_context(mock.patch.object(place, name, replacement))
        yield


def by_part(whole_ms: float, without_ms: dict[str, float]) -> dict[str, float]:
    """The time of each part, and of "dense", the rest: matrix products and convolutions."""
    parts = {part: whole_ms - ms for part, ms in without_ms.items()}
    return parts | {"dense": whole_ms - sum(parts.values())}


def as_text(parts_ms: dict[str, float]) -> str:
    """The times in one line: "scan 50.0, depth-wise 11.8, ..."."""
    return ", ".join(f"{part} {ms:.1f}" for part, ms in parts_ms.items())
