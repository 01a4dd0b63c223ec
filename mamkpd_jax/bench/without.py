"""Leaves one part out of a model, to measure the time of that part."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from flax import nnx

from mamkpd_jax.model import layers, ss2d


def _same(*arguments: object, **_: object) -> object:
    """The last argument unchanged: the feature map given to a function or to a module's method."""
    return arguments[-1]


# The benchmark `against` also times older checkouts, which use Flax's layers or lack some methods.
_LAYER_NORM = layers.LayerNorm if isinstance(layers.LayerNorm, type) else nnx.LayerNorm
_BATCH_NORM = layers.BatchNorm if isinstance(layers.BatchNorm, type) else nnx.BatchNorm
# The replacement of each part. Leaving the scan out leaves out its projections, too: nothing else needs them.
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
    """Leaves one of `PARTS` out of the models that are traced in this context; None leaves nothing out."""
    with contextlib.ExitStack() as patches:
        for place, name, replacement in _REPLACED[part] if part else ():
            if hasattr(place, name):
                patches.enter_context(mock.patch.object(place, name, replacement))
        yield


def by_part(whole_ms: float, without_ms: dict[str, float]) -> dict[str, float]:
    """The time of each part in milliseconds, and the rest as "dense": matrix products and convolutions.

    Args:
        whole_ms: the time of the whole model.
        without_ms: its time without each part.
    """
    parts = {part: whole_ms - ms for part, ms in without_ms.items()}
    return parts | {"dense": whole_ms - sum(parts.values())}


def as_text(parts_ms: dict[str, float]) -> str:
    """The times of parts in one line: "scan 50.0, depth-wise 11.8, ..."."""
    return ", ".join(f"{part} {ms:.1f}" for part, ms in parts_ms.items())
