"""Every implementation of the selective scan against float64 loops over the equations."""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax import export

from mamkpd_jax.errors import UserError
from mamkpd_jax.ops.selective_scan import selective_scan, ss2d_scan
from mamkpd_jax.ops.selective_scan.tiling import plan
from mamkpd_jax.registry import SCANS
from tests.ops.loops import ss2d_loop

_NAMES = ("u", "proj", "dt_weight", "dt_bias", "A_log", "D")


@dataclasses.dataclass(frozen=True)
class Case:
    """A four-direction scan: sizes, the range of delta's bias, and the mean of log -A."""

    b: int = 2
    h: int = 5
    w: int = 7
    d: int = 6
    r: int = 2
    n: int = 1
    bias: tuple[float, float] = (-4.0, -1.0)
    a_log: float = 0.0

    def arguments(self) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(0)
        return (
            rng.normal(size=(self.b, self.h, self.w, self.d)),
            rng.normal(size=(self.b, self.h, self.w, 4, self.r + 2 * self.n)),
            rng.normal(size=(4, self.r, self.d)) * 0.5,
            rng.uniform(*self.bias, size=(4, self.d)),
            rng.normal(size=(4, self.d, self.n)) * 0.3 + self.a_log,
            rng.normal(size=(4, self.d)),
        )


# The kernels walk small batches in segments, here of two chunks (one in the last segment), and large ones in one piece.
_IN_CHUNKS = Case(b=16, h=8, w=7, d=40)
_A_PROGRAM_A_WALK = dataclasses.replace(_IN_CHUNKS, b=64)
CASES = {
    "odd, longer than a chunk": Case(h=13, w=11),
    "in chunks": _IN_CHUNKS,
    "tall, four states": Case(h=9, w=4, n=4),
    "sixteen states": Case(h=3, w=5, d=4, n=16),
    "large rank": Case(h=8, w=3, r=24),
    "one token": Case(h=1, w=1),
    "one row": Case(h=1, w=13),
    "one column": Case(h=11, w=1, n=4),
    "large delta": dataclasses.replace(_IN_CHUNKS, bias=(20.0, 60.0)),
    "delta beyond exp": dataclasses.replace(_IN_CHUNKS, bias=(80.0, 200.0), a_log=-5.0),
    "tiny delta": dataclasses.replace(_IN_CHUNKS, bias=(-30.0, -18.0)),
    "a segment a chunk": Case(h=8, w=3, d=40),
    "a program a walk": _A_PROGRAM_A_WALK,
    "a program a walk, large delta": dataclasses.replace(_A_PROGRAM_A_WALK, bias=(20.0, 60.0)),
    "a program a walk, delta beyond exp": dataclasses.replace(_A_PROGRAM_A_WALK, bias=(80.0, 200.0), a_log=-5.0),
    "a program a walk, tiny delta": dataclasses.replace(_A_PROGRAM_A_WALK, bias=(-30.0, -18.0)),
}


def _relative(found, wanted) -> float:
    return float(np.abs(np.float64(found) - wanted).max() / max(np.abs(wanted).max(), 1e-30))


_ON_A_CPU = [name for name in SCANS.names() if SCANS[name].platform is None]
_KERNELS = "pallas_interpret"


@pytest.fixture(params=_ON_A_CPU)
def name(request) -> str:
    return request.param


@pytest.fixture
def scan(name):
    return functools.partial(ss2d_scan, implementation=name)


@functools.cache
def _with_gradients(name: str):
    """`(arrays, dy) -> (y, gradients)`, compiled."""

    def run(arrays, dy):
        y, pullback = jax.vjp(functools.partial(ss2d_scan, implementation=name), *arrays)
        return y, pullback(dy)

    return jax.jit(run)


# In interpret mode each shape takes ten seconds or more to trace and compile.
_SLOW = {
    "a segment a chunk",
    "odd, longer than a chunk",
    "sixteen states",
    "tall, four states",
    "one row",
    "one column",
}
_KERNELS_SLOWLY = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == _KERNELS)) for name in _ON_A_CPU]
)
_ALL_CASES = [
    pytest.param(name, case, id=f"{name}-{what}", marks=[pytest.mark.slow] * (name == _KERNELS and what in _SLOW))
    for name in _ON_A_CPU
    for what, case in CASES.items()
]


@pytest.mark.parametrize(("name", "case"), _ALL_CASES)
def test_values_and_gradients(name, case):
    arguments = [np.float64(np.float32(a)) for a in case.arguments()]
    dy = np.float64(np.float32(np.random.default_rng(1).normal(size=arguments[0].shape)))
    wanted, gradients = ss2d_loop(*arguments, dy)
    found, got = _with_gradients(name)([jnp.float32(a) for a in arguments], jnp.float32(dy))
    assert _relative(found, wanted) < 2e-6
    for argument, ours, truth in zip(_NAMES, got, gradients, strict=True):
        assert _relative(ours, truth) < 1e-5, argument


def test_the_batch_size_sets_the_segments():
    def segments(case):
        scan = plan(range(4), case.h, case.w, case.d, case.n, case.r, interpret=True).for_batch(case.b)
        return scan.n_chunks, scan.segments, scan.segment

    assert segments(_IN_CHUNKS) == (7, 4, 2)
    assert segments(_A_PROGRAM_A_WALK) == (7, 1, None)
    assert segments(CASES["a segment a chunk"]) == (3, 3, 1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow)])
def test_sixteen_bit_inputs(name, dtype):
    case = dataclasses.replace(CASES["a segment a chunk"], n=4)
    arrays = [jnp.asarray(a, dtype if i < 2 else jnp.float32) for i, a in enumerate(case.arguments())]
    dy = jnp.asarray(np.random.default_rng(1).normal(size=arrays[0].shape), dtype)
    wanted, gradients = ss2d_loop(*[np.float64(a) for a in arrays], np.float64(dy))
    found, got = _with_gradients(name)(arrays, dy)
    assert found.dtype == dtype
    assert _relative(found, wanted) < 1e-2
    for argument, ours, truth in zip(_NAMES, got, gradients, strict=True):
        assert _relative(ours, truth) < 2e-2, argument


def test_a_long_sequence_follows_the_recurrence():
    rng = np.random.default_rng(0)
    length = 10_000
    u, B, C = (np.float32(rng.normal(size=(1, length, s))) for s in (3, 2, 2))
    delta = np.float32(rng.uniform(1e-3, 1e-1, size=(1, length, 3)))
    A, D = -np.float32(rng.uniform(0.5, 2, size=(3, 2))), np.float32(rng.normal(size=3))
    for reverse in (False, True):
        state, wanted = np.zeros((3, 2)), np.zeros((length, 3))
        for t in range(length)[:: -1 if reverse else 1]:
            state = np.exp(np.float64(delta[0, t, :, None]) * A) * state
            state = state + np.float64(delta[0, t] * u[0, t])[:, None] * B[0, t]
            wanted[t] = state @ C[0, t] + D * u[0, t]
        for name in _ON_A_CPU:
            found = selective_scan(*map(jnp.asarray, (u, delta, A, B, C, D)), reverse, implementation=name)
            assert _relative(found[0], wanted) < 2e-6


def test_nan_does_not_spread_to_other_examples(scan):
    arrays = [jnp.float32(a) for a in Case(b=3, h=3, w=5, n=4).arguments()]
    scan = jax.jit(scan)
    good = scan(*arrays)
    for bad in (jnp.nan, jnp.inf):
        found = scan(arrays[0].at[1, 2, 3].set(bad), *arrays[1:])
        assert not np.isfinite(found[1]).all()
        np.testing.assert_array_equal(found[0], good[0])
        np.testing.assert_array_equal(found[2], good[2])


@_KERNELS_SLOWLY
def test_empty_batch_vmap_and_checkpoint(scan):
    arrays = [jnp.float32(a) for a in Case(h=4, w=3).arguments()]
    assert scan(arrays[0][:0], arrays[1][:0], *arrays[2:]).shape == (0, 4, 3, 6)

    def loss(u, proj):
        return jnp.sum(jnp.sin(jax.checkpoint(scan)(u, proj, *arrays[2:])))

    whole = jax.jit(jax.grad(loss))(*arrays[:2])
    single = jax.jit(jax.vmap(jax.grad(lambda u, proj: loss(u[None], proj[None]))))(*arrays[:2])
    np.testing.assert_allclose(single, whole, rtol=1e-5, atol=1e-6)
    y, pullback = jax.vjp(lambda u: scan(u, *arrays[1:]), arrays[0])
    np.testing.assert_allclose(whole, pullback(jnp.cos(y))[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [1, 19])
def test_plain_scan_of_any_length(name, length):
    rng = np.random.default_rng(0)
    u, B, C = (jnp.float32(rng.normal(size=(2, length, s))) for s in (3, 2, 2))
    delta, A = jnp.float32(rng.uniform(0.01, 1, size=(2, length, 3))), -jnp.float32(rng.uniform(0.5, 2, size=(3, 2)))

    def with_gradients(implementation):
        def run(*arrays):
            y, pullback = jax.vjp(functools.partial(selective_scan, implementation=implementation), *arrays)
            return y, *pullback(u)

        return jax.jit(run)(u, delta, A, B, C)

    for ours, sequential in zip(with_gradients(name), with_gradients("sequential"), strict=True):
        assert _relative(ours, np.float64(sequential)) < 1e-5


_BY_DEVICE = """
import functools, jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from mamkpd_jax.ops.selective_scan import ss2d_scan

mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
keys = jax.random.split(jax.random.key(0), 7)
shapes = (4, 4, 3, 8), (4, 4, 3, 4, 4), (4, 2, 8), (4, 8), (4, 8, 1), (4, 8)
arrays = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes)]
dy = jax.random.normal(keys[6], shapes[0])

def run(arrays, dy):
    y, pullback = jax.vjp(functools.partial(ss2d_scan, implementation=NAME), *arrays)
    return y, pullback(dy)

one = jax.jit(run)(arrays, dy)
arrays, dy = jax.device_put((arrays, dy), ([split] * 2 + [whole] * 4, split))
compiled = jax.jit(run).lower(arrays, dy).compile()
text = compiled.as_text()
assert "all-reduce" in text  # sums the weights' gradients, as only two devices need
assert "all-gather" not in text and "collective-permute" not in text and "all-to-all" not in text
for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(compiled(arrays, dy))):
    assert jnp.allclose(a, b, rtol=1e-5, atol=1e-5), abs(a - b).max()
"""


@_KERNELS_SLOWLY
def test_each_device_scans_its_part_of_the_batch(name, devices):
    code = f"NAME = {name!r}\n{_BY_DEVICE}"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | devices(2), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proj": np.zeros((2, 5, 7, 4, 5), np.float32)}, "proj has shape .*expected"),
        ({"dt_bias": np.zeros((4, 5), np.float32)}, "dt_bias has shape"),
        ({"u": np.zeros((2, 5, 7, 6), np.int32)}, "u has dtype int32"),
        ({"A_log": np.zeros((4, 6, 0), np.float32)}, "A_log has 0 states.*expected 1 to 16"),
        ({"A_log": np.zeros((4, 6, 17), np.float32)}, "A_log has 17 states.*expected 1 to 16"),
    ],
)
def test_bad_arguments_are_named(change, message, monkeypatch):
    # Without the tests' type checker, which would refuse the arguments before the function does.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    arguments = dict(zip(_NAMES, (jnp.float32(a) for a in Case().arguments()), strict=True)) | change
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(ss2d_scan, **arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "'cuda'; expected one of associative, pallas_interpret, pallas_triton, portable, sequential"),
        ("pallas_triton", "'pallas_triton', which runs on cuda alone, and this is cpu"),
    ],
)
def test_an_unavailable_implementation_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        jax.eval_shape(functools.partial(ss2d_scan, implementation=name), *Case().arguments())


def test_portable_exports_for_two_platforms():
    arrays = [jnp.float32(a) for a in Case().arguments()]
    (b,) = export.symbolic_shape("b")
    shapes = [jax.ShapeDtypeStruct((b, *x.shape[1:]), x.dtype) for x in arrays[:2]]
    portable, loop = (jax.jit(functools.partial(ss2d_scan, implementation=one)) for one in ("portable", "sequential"))
    exported = export.export(portable, platforms=("cpu", "cuda"))(*shapes, *arrays[2:])
    found = export.deserialize(exported.serialize()).call(*arrays)
    np.testing.assert_array_equal(found, loop(*arrays))
