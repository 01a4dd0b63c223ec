"""Feature maps of the stem and the stages for a crop (MamKPD figures 4 and 5)."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.model.mamkpd import abstract, normalize
from mamkpd_jax.plots.plot import new_figure

_NAMES = {"cmm": "with CMM", "conv": "without CMM", "merging": "patch merging in place of CMM"}
_HEIGHT_IN = 2.2  # of a row, in inches
_LETTERS = 18  # per line of a row's vertical label: as long as the row is high


class Row(NamedTuple):
    """A row of the plot: a crop and a model's feature maps, in the order of the forward pass."""

    name: str
    crop: UInt8[np.ndarray, "h w 3"]
    maps: dict[str, Float[np.ndarray, "_ _"]]


def feature_maps(artifact: Artifact, crop: UInt8[np.ndarray, "h w 3"]) -> dict[str, Float[np.ndarray, "_ _"]]:
    """The distance of each position's features from their mean over the crop, for the stem (if any) and each stage.

    Choice: the paper does not say how its figures reduce the channels. The mean or the norm over channels shows little:
    every stage ends in a layer norm, which makes both nearly constant.

    Args:
        crop: of the model's input size.

    Returns:
        fp32 maps by name, "stem", "stage 1" and so on, each at the resolution of its part.
    """
    config = artifact.config.model
    graphdef = nnx.graphdef(abstract(artifact.config, artifact.skeleton))

    def distances(arrays: tuple, image: jax.Array) -> list[jax.Array]:
        model = nnx.merge(graphdef, *arrays, copy=True)
        model.eval()
        features = [x[0].astype(jnp.float32) for x in model.encoder.features(normalize(image[None]))]
        return [jnp.linalg.norm(x - x.mean(axis=(0, 1)), axis=-1) for x in features]

    maps = jax.jit(distances)((artifact.params, artifact.batch_stats), jnp.asarray(crop))
    names = ["stem"] if config.stem else []
    names += [f"stage {i + 1}" for i in range(len(config.depths))]
    return {name: np.asarray(x) for name, x in zip(names, maps, strict=True)}


def row(name: str, artifact: Artifact, crop: UInt8[np.ndarray, "h w 3"]) -> Row:
    """The row of a model; its label is `name` and the kind of downsampling."""
    parts = name, _NAMES[artifact.config.model.downsampling]
    return Row("\n".join(textwrap.fill(part, _LETTERS) for part in parts), crop, feature_maps(artifact, crop))


def features(rows: Sequence[Row]) -> Figure:
    """A figure with a row per model and a column per part; the colours of each map span its range of values."""
    # A model without a stem leaves the column "stem" empty.
    longest = max((row.maps for row in rows), key=len)
    columns = ["stem"] * any("stem" in row.maps for row in rows) + [name for name in longest if name != "stem"]
    aspect = max(row.crop.shape[1] / row.crop.shape[0] for row in rows)
    figure = new_figure(_HEIGHT_IN * aspect * (1 + len(columns)) + 0.4, _HEIGHT_IN * len(rows) + 0.6)
    grid = figure.subplots(len(rows), 1 + len(columns), squeeze=False)
    for axes_of_row, row in zip(grid, rows, strict=True):
        axes_of_row[0].imshow(row.crop)
        axes_of_row[0].set_ylabel(row.name)
        for axes, name in zip(axes_of_row[1:], columns, strict=True):
            if name in row.maps:
                axes.imshow(row.maps[name], cmap="viridis", interpolation="nearest")
            else:
                axes.set_frame_on(False)
    for axes, title in zip(grid[0], ("crop", *columns), strict=True):
        axes.set_title(title)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    return figure
