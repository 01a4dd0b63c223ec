"""The worker process of `mamkpd bench against`: for each line of input it times one call of a case in one checkout.

python mamkpd_jax/bench/against_worker.py FOLDER CASE [PART]

PART is left out of the model. The code for that comes from this file's checkout, as an older FOLDER may lack it.
"""

import dataclasses
import importlib
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np


class Case(NamedTuple):
    """A call to time: what the model of a config computes for a batch of random crops."""

    config: str  # the name of a config file, without its suffix
    batch: int
    input_hw: tuple[int, int] = (256, 192)
    what: Literal["heatmaps", "step", "onnx"] = "heatmaps"  # "onnx": heatmaps in onnxruntime, on two threads


CASES = {
    "base-1": Case("coco_base", 1),
    "base-8": Case("coco_base", 8),
    "small-1": Case("coco_small", 1),
    "small-8": Case("coco_small", 8),
    "base-384x288": Case("coco_base", 1, input_hw=(384, 288)),
    "narrow-step": Case("narrow", 16, (128, 96), "step"),
    "quickstart-step": Case("quickstart", 16, (96, 64), "step"),
    "small-onnx-1": Case("coco_small", 1, what="onnx"),
}
_N_JOINTS = 17
_WITHOUT = Path(__file__).with_name("without.py")


def _heatmaps(case: Case) -> Callable[[], Any]:
    from mamkpd_jax.skeletons import COCO

    config, images = _config(case), _images(case)
    mesh, _, state, *graphdef = _state(config)
    if _has_module("program"):
        from mamkpd_jax.program import Options, compiled, make_program

        heatmaps: Any = compiled(make_program(config, COCO, Options(flip_test=False, decode=False)), mesh)
    else:
        predict = importlib.import_module("mamkpd_jax.inference.predict")
        config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, flip_test=False))
        heatmaps = predict.make_heatmaps(*graphdef, config, COCO, mesh)
    ready = heatmaps.lower(state.params, state.batch_stats, images).compile()
    return lambda: ready(state.params, state.batch_stats, images)


def _step(case: Case) -> Callable[[], Any]:
    from mamkpd_jax.skeletons import COCO
    from mamkpd_jax.training.step import make_train_step, shard_batch

    config, rng = _config(case), np.random.default_rng(0)
    mesh, adam, state, *graphdef = _state(config)
    points = rng.uniform(0, 1, (case.batch, _N_JOINTS, 2)) * config.data.input_hw[::-1]
    visible = np.ones((case.batch, _N_JOINTS), np.float32)
    batch = shard_batch({"image": _images(case), "keypoints": points.astype(np.float32), "visible": visible}, mesh)
    make: Any = make_train_step
    step = make(*graphdef, state, adam, config, *([] if graphdef else [COCO]), mesh)
    compiled = step.lower(state, batch).compile()

    def call() -> Any:
        nonlocal state
        state, metrics = compiled(state, batch)
        return metrics

    return call


def _in_onnxruntime(case: Case) -> Callable[[], Any]:
    import onnxruntime

    from mamkpd_jax.skeletons import COCO

    config = _config(case)
    _, _, state, *_ = _state(config)
    if _has_module("program"):
        from mamkpd_jax.artifact.artifact import Artifact as Model
        from mamkpd_jax.export.formats.onnx import save
        from mamkpd_jax.program import NETWORK as network
    else:
        Model = importlib.import_module("mamkpd_jax.convert.weights").Weights
        save = importlib.import_module("mamkpd_jax.export.onnx_model").save_onnx
        network = importlib.import_module("mamkpd_jax.export.options").Options()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        weights = {"params": state.params, "batch_stats": state.batch_stats}
        save(Model(config=config, skeleton=COCO, step=0, **weights), path, network)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).normal(size=(case.batch, 3, *case.input_hw)).astype(np.float32)
    return lambda: session.run(None, {"image": images})


def _config(case: Case) -> Any:
    # Older checkouts keep narrow.py in benchmarks/.
    files = (Path(sys.path[0], folder, f"{case.config}.py") for folder in ("configs", "benchmarks"))
    config = runpy.run_path(next(str(file) for file in files if file.exists()))["get_config"]()
    data, optim = config.data, dataclasses.replace(config.optim, batch_size=case.batch)
    return dataclasses.replace(config, data=dataclasses.replace(data, input_hw=case.input_hw), optim=optim)


def _images(case: Case) -> Any:
    return np.random.default_rng(0).integers(0, 256, (case.batch, *case.input_hw, 3), np.uint8)


def _state(config: Any) -> tuple[Any, ...]:
    """Mesh, optimizer and state of a config's model; in older checkouts the model's graphdef too."""
    from mamkpd_jax.skeletons import COCO
    from mamkpd_jax.training.optimizer import optimizer
    from mamkpd_jax.training.state import create_state

    sharding: Any = importlib.import_module(f"mamkpd_jax.{'sharding' if _has_module('program') else 'training.mesh'}")
    mesh, adam = sharding.training_mesh(), optimizer(config.optim, steps_per_epoch=1)
    if _has_module("program"):
        return mesh, adam, create_state(config, COCO, adam, mesh)
    create: Any = create_state
    graphdef, state = create(config, COCO.n_joints, adam, mesh)
    return mesh, adam, state, graphdef


def _has_module(module: str) -> bool:
    """Whether the checkout has a module."""
    # An import would find the module in an installed package, too.
    return Path(sys.path[0], "mamkpd_jax", f"{module}.py").exists()


def main(folder: str, case: Case, part: str | None = None) -> None:
    """Times one call for each line of standard input and prints its milliseconds."""
    sys.path[0] = folder  # in place of this file's own folder
    import jax

    import mamkpd_jax

    assert Path(mamkpd_jax.__file__).is_relative_to(folder), mamkpd_jax.__file__
    with runpy.run_path(str(_WITHOUT))["without"](part):
        call = {"heatmaps": _heatmaps, "step": _step, "onnx": _in_onnxruntime}[case.what](case)
    for _ in sys.stdin:
        jax.block_until_ready(call())
        start = time.perf_counter()
        jax.block_until_ready(call())
        print((time.perf_counter() - start) * 1e3, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], CASES[sys.argv[2]], *sys.argv[3:])
