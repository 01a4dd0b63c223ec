"""A 2-D map as a sequence in each of SS2D's four directions, and back (MamKPD sec. 3.2; VMamba, arXiv 2401.10166).

Direction 0 is row-major, 1 column-major, 2 and 3 are 0 and 1 from the end. Sequences have the length first, because
a scan runs over the first axis.
"""

from jax import Array
from jaxtyping import Shaped

DIRECTIONS = 4


def to_sequence(x: Shaped[Array, "b h w d"], direction: int) -> Shaped[Array, "l b d"]:
    """The map's positions in the order of a direction."""
    b, h, w, d = x.shape
    x = x.transpose(2, 1, 0, 3) if direction % 2 else x.transpose(1, 2, 0, 3)
    x = x.reshape(h * w, b, d)
    return x[::-1] if direction >= 2 else x


def to_map(x: Shaped[Array, "l b d"], direction: int, h: int, w: int) -> Shaped[Array, "b h w d"]:
    """The inverse of `to_sequence`."""
    _, b, d = x.shape
    x = x[::-1] if direction >= 2 else x
    return x.reshape(w, h, b, d).transpose(2, 1, 0, 3) if direction % 2 else x.reshape(h, w, b, d).transpose(2, 0, 1, 3)
