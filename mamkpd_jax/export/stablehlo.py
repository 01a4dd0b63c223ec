"""A model as StableHLO, by jax.export: it runs where JAX does, without this package."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, export, lax

from mamkpd_jax.codec import decode_heatmaps, flip_heatmaps, to_input_px
from mamkpd_jax.convert.weights import Weights, metadata
from mamkpd_jax.errors import UserError
from mamkpd_jax.export.options import Options
from mamkpd_jax.files import atomic_folder, atomic_write
from mamkpd_jax.model.mamkpd import abstract, normalize

PLATFORMS = ("cpu", "cuda")


def save_stablehlo(weights: Weights, path: Path, options: Options) -> None:
    """Writes a serialized jax.export.Exported for CPU and CUDA with a symbolic batch, whole or not at all.

    To run it: `jax.export.deserialize(bytearray(path.read_bytes())).call(image)`. The image is uint8 RGB [b, h, w, 3]
    with `options.normalize`, else normalised float32 [b, h, w, 3]; the result is points [b, j, 2] in pixels of the
    image and scores [b, j] with `options.decode`, else heatmaps [b, h / stride, w / stride, j].
    """
    exported = _exported(weights, options)
    with atomic_write(path) as temporary:
        temporary.write_bytes(exported.serialize())


def save_folder(weights: Weights, folder: Path, options: Options) -> None:
    """Writes a folder, whole or not at all: model.stablehlo, and model.json with all that is needed to use it.

    Choice: StableHLO, since an ONNX file holds its description itself. model.json has the metadata of the weights, the
    options, and the shapes and dtypes of inputs and outputs, the batch as "b".

    Raises:
        UserError: there is such a folder already.
    """
    if folder.exists():
        raise UserError(f"{folder} is there already; give a new folder")
    exported = _exported(weights, options)
    about = {
        **metadata(weights),
        "options": dataclasses.asdict(options),
        "platforms": exported.platforms,
        "inputs": [_description(array) for array in exported.in_avals],
        "outputs": [_description(array) for array in exported.out_avals],
    }
    with atomic_folder(folder) as partial:
        (partial / "model.stablehlo").write_bytes(exported.serialize())
        (partial / "model.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _description(array: Any) -> dict[str, Any]:
    return {"shape": [size if isinstance(size, int) else str(size) for size in array.shape], "dtype": str(array.dtype)}


def _exported(weights: Weights, options: Options) -> export.Exported:
    (batch,) = export.symbolic_shape("b")
    dtype = jnp.uint8 if options.normalize else jnp.float32
    image = jax.ShapeDtypeStruct((batch, *weights.config.data.input_hw, 3), dtype)
    return export.export(jax.jit(predictor(weights, options)), platforms=PLATFORMS)(image)


def predictor(weights: Weights, options: Options):
    """The function of images that is exported, with the weights inside."""
    config, skeleton = weights.config, weights.skeleton
    arrays = jax.tree.map(jnp.asarray, (weights.params, weights.batch_stats))

    def network(scan: str):
        """The model with an implementation of the scan, since one file serves platforms that want different ones."""
        sizes = dataclasses.replace(config.model, scan=scan)
        graphdef = nnx.graphdef(abstract(sizes, skeleton.n_joints))

        def run(arrays, images: Array) -> Array:
            model = nnx.merge(graphdef, *arrays, copy=True)
            model.eval()
            return model(images)

        return run

    def predict(image: Array):
        images = normalize(image) if options.normalize else image

        def heatmaps_of(images: Array) -> Array:
            return lax.platform_dependent(arrays, images, cpu=network("sequential"), default=network("associative"))

        heatmaps = heatmaps_of(images)
        if options.flip_test:
            mirrored = heatmaps_of(images[:, :, ::-1])
            heatmaps = (heatmaps + flip_heatmaps(mirrored, skeleton.flip_indices, config.data.codec)) / 2
        if not options.decode:
            return heatmaps
        sigma = config.data.sigma_px / config.model.heatmap_stride
        points, scores = decode_heatmaps(heatmaps, config.data.codec, sigma)
        return to_input_px(points, config.data.input_hw, config.heatmap_hw, config.data.codec), scores

    return predict
