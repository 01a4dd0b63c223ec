"""The compiled prediction: crops to joints, with the flip test."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx, traverse_util
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike, DTypeLike

from mamkpd_jax.codec import decode_heatmaps, flip_heatmaps, to_input_px
from mamkpd_jax.compilation import jit
from mamkpd_jax.config import Config
from mamkpd_jax.model.mamkpd import normalize
from mamkpd_jax.sharding import batch_sharded, replicated
from mamkpd_jax.skeletons import Skeleton

Predict = Callable[[Any, Any, ArrayLike], tuple[Array, Array]]
Heatmaps = Callable[[Any, Any, ArrayLike], Array]


def make_predict(graphdef: nnx.GraphDef, config: Config, skeleton: Skeleton, mesh: Mesh) -> Predict:
    """The function `(params, batch_stats, images uint8 [b, h, w, 3]) -> (points [b, j, 2], scores [b, j])`.

    Points are in pixels of the crop. With `config.eval.flip_test` the heatmaps are the mean of the crop's and of its
    mirror image's. The images are split over the mesh, which must divide b.
    """
    network = make_network(graphdef, config, skeleton)

    def predict(params: Any, batch_stats: Any, images: Array) -> tuple[Array, Array]:
        return decode(network(params, batch_stats, images), config)

    return _compiled(predict, mesh)


def make_heatmaps(graphdef: nnx.GraphDef, config: Config, skeleton: Skeleton, mesh: Mesh) -> Heatmaps:
    """As `make_predict`, but the function's result is the heatmaps [b, h / stride, w / stride, j]."""
    return _compiled(make_network(graphdef, config, skeleton), mesh)


def make_network(graphdef: nnx.GraphDef, config: Config, skeleton: Skeleton) -> Callable[[Any, Any, Array], Array]:
    """What `make_heatmaps` compiles."""

    def heatmaps_of(params: Any, batch_stats: Any, images: Array) -> Array:
        model = nnx.merge(graphdef, params, batch_stats, copy=True)
        model.eval()
        forward = jax.jit(lambda crops: model(crops))  # traced once for both images
        crops = normalize(images)
        heatmaps = forward(crops)
        if config.eval.flip_test:
            mirrored = forward(crops[:, :, ::-1])
            heatmaps = (heatmaps + flip_heatmaps(mirrored, skeleton.flip_indices, config.data.codec)) / 2
        return heatmaps

    return heatmaps_of


def cast_once(params: Mapping[str, Any], dtype: DTypeLike) -> dict[str, Any]:
    """The parameters, in `dtype` where the model casts them to it in each call: of products and convolutions.

    The decoder's last convolution is fp32. The result of the model is the same.
    """
    flat: dict[tuple, Any] = traverse_util.flatten_dict(params)

    def is_cast(path: tuple) -> bool:
        of_product = path[-1] == "x_proj" or (*path[:-1], "kernel") in flat
        return of_product and path[:2] != ("decoder", "head")

    return traverse_util.unflatten_dict({path: x.astype(dtype) if is_cast(path) else x for path, x in flat.items()})


def decode(heatmaps: Array, config: Config) -> tuple[Array, Array]:
    """Heatmaps [b, h, w, j] to points [b, j, 2] in pixels of the crop, and scores [b, j]."""
    sigma = config.data.sigma_px / config.model.heatmap_stride
    points, scores = decode_heatmaps(heatmaps, config.data.codec, sigma)
    return to_input_px(points, config.data.input_hw, config.heatmap_hw, config.data.codec), scores


def _compiled(function: Callable, mesh: Mesh) -> Callable:
    everywhere = replicated(mesh)
    return jit(function, in_shardings=(everywhere, everywhere, batch_sharded(mesh)), out_shardings=everywhere)
