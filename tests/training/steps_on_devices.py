"""Runs five steps on all devices, for test_devices.py: python steps_on_devices.py FSDP SCAN OUTPUT.npz."""

import sys

import jax
import numpy as np
import optax

from mamkpd_jax.config import Config, DataConfig, HeatmapConfig, ModelConfig, OptimConfig
from mamkpd_jax.sharding import training_mesh
from mamkpd_jax.training.state import create_state
from mamkpd_jax.training.step import make_train_step, shard_batch
from tests.joints import skeleton_of

fsdp, scan, output = int(sys.argv[1]), sys.argv[2], sys.argv[3]
# One block with the kernels takes as long to compile as the rest.
sizes = dict(depths=(1,), dims=(8,)) if scan == "pallas_interpret" else dict(depths=(1, 1), dims=(32, 64))
config = Config(
    model=ModelConfig(stem=False, **sizes, decoder_dim=16, drop_path=0.2, scan=scan),
    head=HeatmapConfig(sigma_px=4.0),
    data=DataConfig(input_hw=(64, 48)),
    optim=OptimConfig(batch_size=8, warmup_steps=0),
    fsdp=fsdp,
)
mesh = training_mesh(fsdp)
# With Adam's default epsilon, 1e-8, rounding errors of a gradient near zero would make full-size steps.
adam = optax.chain(optax.clip_by_global_norm(config.optim.clip_norm), optax.adam(config.optim.learning_rate, eps=1e-3))
state = create_state(config, skeleton_of(5), adam, mesh)
step = make_train_step(state, adam, config, skeleton_of(5), mesh)
rng = np.random.default_rng(0)
arrays, losses = {}, []
for _ in range(5):
    batch = {
        "image": rng.integers(0, 256, (8, 64, 48, 3), np.uint8),
        "keypoints": rng.uniform(0, 48, (8, 5, 2)).astype(np.float32),
        "visible": np.ones((8, 5), np.float32),
    }
    batch = shard_batch(batch, mesh)
    if not losses:
        arrays["text"] = np.array(step.lower(state, batch).compile().as_text())
    state, metrics = step(state, batch)
    losses.append(float(metrics["loss"]))
arrays["losses"] = np.array(losses)
parts = [{str(shard.index) for shard in leaf.addressable_shards} for leaf in jax.tree.leaves(state.params)]
arrays["split"] = np.array(max(map(len, parts)))
means = optax.tree.get(state.opt_state, "mu")  # Adam's moving averages of the gradients
for of, tree in (("parameter", state.params), ("gradient", means)):
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        arrays[of + jax.tree_util.keystr(path)] = np.asarray(leaf)
np.savez(output, **arrays)
