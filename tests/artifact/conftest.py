"""Random weights and real crops for the tests of conversion and export."""

import json
import os
from collections.abc import Callable
from pathlib import Path

# The models are small, and spinning threads take minutes on a busy machine. Torch reads this when it starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import numpy as np
import pytest
from jaxtyping import Float, UInt8

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.config import Config
from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.data.transforms import TopDownCrop
from mamkpd_jax.model.mamkpd import abstract, split
from mamkpd_jax.program import NETWORK, make_program
from mamkpd_jax.skeletons import COCO, Skeleton

HeatmapFunction = Callable[[Float[np.ndarray, "b h w 3"]], Float[np.ndarray, "b h2 w2 j"]]


@pytest.fixture(scope="session")
def random_weights() -> Callable[..., Artifact]:
    """Makes random weights for a config. Each layer keeps about the scale of its input; no statistic is 0 or 1."""

    def make(config: Config, skeleton: Skeleton = COCO) -> Artifact:
        rng = np.random.default_rng(0)

        def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            match path[-1].key:
                case "mean" | "bias":
                    values = rng.normal(0, 0.2, leaf.shape)
                case "scale" | "var" | "D":
                    values = rng.uniform(0.5, 1.5, leaf.shape)
                case "dt_bias":
                    values = rng.uniform(-5, -1, leaf.shape)
                case "A_log":
                    values = rng.normal(0, 0.5, leaf.shape)
                case "x_proj":
                    values = rng.normal(0, leaf.shape[0] ** -0.5, leaf.shape)
                case _:  # kernels, depth-wise ones by [3, 3, d]
                    fan_in = 9 if len(leaf.shape) == 3 and leaf.shape[0] == 3 else np.prod(leaf.shape[:-1])
                    values = rng.normal(0, fan_in**-0.5, leaf.shape)
            return values.astype(np.float32)

        model = abstract(config, skeleton)
        params, batch_stats = jax.tree_util.tree_map_with_path(fill, split(model)[1:])
        return Artifact(config=config, skeleton=skeleton, step=7, params=params, batch_stats=batch_stats)

    return make


@pytest.fixture(scope="session")
def heatmaps() -> Callable[[Artifact], HeatmapFunction]:
    """Makes the JAX model a function of normalised images; compiled without optimization, to save time."""

    def make(weights: Artifact) -> HeatmapFunction:
        network = make_program(weights.config, weights.skeleton, NETWORK)
        compiled = jax.jit(network, compiler_options={"xla_backend_optimization_level": 0})
        return lambda images: np.asarray(compiled(weights.params, weights.batch_stats, images))

    return make


@pytest.fixture(scope="session")
def crops(shared_data: Path) -> Callable[[tuple[int, int]], UInt8[np.ndarray, "b h w 3"]]:
    """Makes crops of two persons of coco_mini at a size."""
    folder = shared_data / "coco_mini"
    content = json.loads((folder / "test_coco.json").read_text(encoding="utf-8"))
    files = {image["id"]: folder / image["file_name"] for image in content["images"]}

    def make(input_hw: tuple[int, int]) -> np.ndarray:
        cut = TopDownCrop(input_hw=input_hw, skeleton=COCO)
        persons = [a for a in content["annotations"] if a["num_keypoints"]][:2]
        instances = [{"image": decode_image(files[a["image_id"]].read_bytes()), "bbox": a["bbox"]} for a in persons]
        return np.stack([cut(instance)["image"] for instance in instances])

    return make
