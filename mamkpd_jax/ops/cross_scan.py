"""Turns a 2-D map into a sequence, and back (MamKPD sec. 3.2; VMamba, arXiv 2401.10166).

Of SS2D's four directions, 0 and 2 follow the rows, 1 and 3 the columns; 2 and 3 start from the end. Sequences have the
length first, because a scan runs over the first axis.
"""

from jax import Array
from jaxtyping import Shaped

DIRECTIONS = 4


def to_sequence(x: Shaped[Array, "b h w d"], columns: bool) -> Shaped[Array, "l b d"]:
    """The map's positions row by row, or column by column."""
    b, h, w, d = x.shape
    x = x.transpose(2, 1, 0, 3) if columns else x.transpose(1, 2, 0, 3)
    return x.reshape(h * w, b, d)


def to_map(x: Shaped[Array, "l b d"], columns: bool, h: int, w: int) -> Shaped[Array, "b h w d"]:
    """The inverse of `to_sequence`."""
    _, b, d = x.shape
    return x.reshape(w, h, b, d).transpose(2, 1, 0, 3) if columns else x.reshape(h, w, b, d).transpose(2, 0, 1, 3)
