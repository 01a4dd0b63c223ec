"""A process of `benchmarks.against`: the package of one checkout, and one call of a case for each line of input.

python benchmarks/against_worker.py FOLDER CASE
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Case(NamedTuple):
    """What is timed: a variant's forward pass, or a training step of a config; of so many random crops."""

    name: str
    batch: int
    step: bool = False
    input_hw: tuple[int, int] = (256, 192)


CASES = {
    "base-1": Case("base", 1),
    "base-8": Case("base", 8),
    "small-1": Case("small", 1),
    "small-8": Case("small", 8),
    "base-384x288": Case("base", 1, input_hw=(384, 288)),
    "narrow-step": Case("benchmarks.narrow", 16, step=True),
    "quickstart-step": Case("configs.quickstart", 16, step=True),
}
_N_JOINTS = 17


def _forward(case: Case) -> Callable[[], Any]:
    import jax
    import numpy as np
    from flax import nnx

    from mamkpd_jax.models.mamkpd import MamKPD, normalize, variant

    model = MamKPD(variant(case.name), _N_JOINTS, rngs=nnx.Rngs(0))
    model.eval()
    graphdef, state = nnx.split(model)
    images = jax.device_put(np.random.default_rng(0).integers(0, 256, (case.batch, *case.input_hw, 3), np.uint8))

    def heatmaps(state: Any, images: Any) -> Any:
        return nnx.merge(graphdef, state, copy=True)(normalize(images))

    compiled = jax.jit(heatmaps).lower(state, images).compile()
    return lambda: compiled(state, images)


def _step(case: Case) -> Callable[[], Any]:
    import importlib

    import numpy as np

    from mamkpd_jax.training.mesh import training_mesh
    from mamkpd_jax.training.optimizer import optimizer
    from mamkpd_jax.training.state import create_state
    from mamkpd_jax.training.step import make_train_step, shard_batch

    config = importlib.import_module(case.name).get_config()
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, batch_size=case.batch))
    mesh, adam = training_mesh(), optimizer(config.optim, steps_per_epoch=1)
    graphdef, state = create_state(config, _N_JOINTS, adam, mesh)
    rng, (height, width) = np.random.default_rng(0), config.data.input_hw
    batch = shard_batch(
        {
            "image": rng.integers(0, 256, (case.batch, height, width, 3), np.uint8),
            "keypoints": (rng.uniform(0, 1, (case.batch, _N_JOINTS, 2)) * [width, height]).astype(np.float32),
            "visible": np.ones((case.batch, _N_JOINTS), np.float32),
        },
        mesh,
    )
    step: Any = make_train_step(graphdef, state, adam, config, mesh)
    compiled = step.lower(state, batch).compile()

    def call() -> Any:
        nonlocal state
        state, metrics = compiled(state, batch)
        return metrics

    return call


def main(folder: str, case: Case) -> None:
    sys.path[0] = folder  # in place of this file's own folder
    import jax

    import mamkpd_jax

    assert Path(mamkpd_jax.__file__).is_relative_to(folder), mamkpd_jax.__file__
    call = (_step if case.step else _forward)(case)
    for _ in sys.stdin:
        jax.block_until_ready(call())
        start = time.perf_counter()
        jax.block_until_ready(call())
        print((time.perf_counter() - start) * 1e3, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], CASES[sys.argv[2]])
