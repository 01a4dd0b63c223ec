"""The number of batch elements that each of two devices gets; test_selective_scan.py checks that none are gathered."""

import json
import os
import subprocess
import sys

import pytest

_CASES = """
import functools, json, jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from mamkpd_jax.ops.batch_parallel import over_batch

part = over_batch(lambda x, weight: (0 * x + x.shape[1],), (1, None), (1,))

def on(shape, kind, *spec):
    mesh = jax.make_mesh(shape, ("data", "other"), axis_types=(kind,) * 2)
    return jax.device_put(ones, NamedSharding(mesh, P(None, *spec)))

def size(x, function=lambda x: part(x, jnp.ones(2))):
    return float(jax.jit(function)(x)[0].max())

ones = jnp.ones((3, 4, 2))
mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
specs = dict(in_specs=P(None, "data"), out_specs=P(None, "data"))
shard_map = functools.partial(jax.shard_map, mesh=mesh, **specs, check_vma=False)
found = {
    "one device": size(ones),
    "automatic axes": size(on((2, 1), AxisType.Auto, "data")),
    "explicit axes": size(on((2, 1), AxisType.Explicit, "data")),
    "explicit axes that do not split it": size(on((1, 2), AxisType.Explicit, "data")),
    "indivisible": size(on((2, 1), AxisType.Auto)[:, :3]),
    "vmap": size(jnp.stack([ones] * 3), jax.vmap(lambda x: part(x, jnp.ones(2)))),
    "shard_map": size(ones, shard_map(lambda x: part(x, x))),
}
with jax.set_mesh(mesh):
    found["set_mesh"] = size(ones)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(devices):
    done = subprocess.run([sys.executable, "-c", _CASES], env=os.environ | devices(2), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("case", "size"),
    [
        ("one device", 4),
        ("automatic axes", 2),
        ("explicit axes", 2),
        ("explicit axes that do not split it", 4),
        ("indivisible", 3),
        ("vmap", 4),
        ("shard_map", 2),
        ("set_mesh", 2),
    ],
)
def test_each_device_gets_its_part(found, case, size):
    assert found[case] == size
