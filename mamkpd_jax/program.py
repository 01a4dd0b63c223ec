"""A trained model as a pure function of images, for evaluation, prediction, exports, the demo and benches."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx, traverse_util
from jax.sharding import Mesh
from jax.typing import ArrayLike

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.compilation import jit
from mamkpd_jax.config import Config
from mamkpd_jax.heads._head import head_of
from mamkpd_jax.model.mamkpd import abstract, normalize
from mamkpd_jax.sharding import batch_sharded, replicated
from mamkpd_jax.skeletons import Skeleton

# (params, batch_stats, images) to keypoints [b, j, 2] in pixels of the crop and scores [b, j], or to a head's outputs.
Program = Callable[[Any, Any, Any], Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Which steps a program has besides the network, and which scan the network uses."""

    normalize: bool = True  # images are uint8 RGB [b, h, w, 3]; else they are normalised already
    flip_test: bool = True  # outputs are averaged with those of the mirrored image
    decode: bool = True  # keypoints in pixels of the crop, and scores; else the head's outputs
    scan: str = "auto"  # as in `config.model.scan`, which it replaces

    @property
    def parts(self) -> dict[str, bool]:
        """Whether the program has each step besides the network, by name."""
        return {"normalize": self.normalize, "flip_test": self.flip_test, "decode": self.decode}


# The network alone.
NETWORK = Options(normalize=False, flip_test=False, decode=False)


def make_program(config: Config, skeleton: Skeleton, options: Options) -> Program:
    """The function `(params, batch_stats, images) -> (keypoints, scores)`, or `-> outputs` without `options.decode`."""
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, scan=options.scan))
    graphdef, head = nnx.graphdef(abstract(config, skeleton)), head_of(config, skeleton)

    def program(params: Any, batch_stats: Any, images: ArrayLike) -> Any:
        model = nnx.merge(graphdef, params, batch_stats, copy=True)
        model.eval()
        forward = jax.jit(lambda crops: model(crops))  # traced once for both images
        images = jax.numpy.asarray(images)
        crops = normalize(images) if options.normalize else images
        outputs = forward(crops)
        if options.flip_test:
            outputs = (outputs + head.flip(forward(crops[:, :, ::-1]))) / 2
        return head.decode(outputs) if options.decode else outputs

    return program


def program_of(artifact: Artifact, options: Options) -> Callable[[Any], Any]:
    """The program of `make_program` with an artifact's weights, as a function of images alone."""
    arrays = jax.tree.map(jax.numpy.asarray, (artifact.params, artifact.batch_stats))
    return functools.partial(make_program(artifact.config, artifact.skeleton, options), *arrays)


def compiled(program: Program, mesh: Mesh) -> Program:
    """The program, compiled to split images over a mesh, whose number of devices must divide the batch size."""
    everywhere = replicated(mesh)
    return jit(program, in_shardings=(everywhere, everywhere, batch_sharded(mesh)), out_shardings=everywhere)


def cast_once(params: Any, config: Config, skeleton: Skeleton) -> dict[str, Any]:
    """The parameters, with the weights of matrix products and convolutions cast to the model's dtype.

    The model would cast them in each call, so its result is the same.
    """
    dtype = jax.numpy.dtype(config.model.dtype)
    layers = nnx.iter_modules(abstract(config, skeleton))
    in_dtype = {path for path, layer in layers if getattr(layer, "dtype", None) == dtype}

    def is_cast(path: tuple) -> bool:
        of_product = path[-1] == "x_proj" or (*path[:-1], "kernel") in flat
        return of_product and path[:-1] in in_dtype

    flat: dict[tuple, Any] = traverse_util.flatten_dict(params)
    return traverse_util.unflatten_dict({path: x.astype(dtype) if is_cast(path) else x for path, x in flat.items()})
