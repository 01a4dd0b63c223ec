"""The check of the kernels, and the implementations that it chooses. Other scans replace the kernels: no GPU needed."""

import contextlib
import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export
from jax.sharding import AxisType, PartitionSpec

from mamkpd_jax.ops.selective_scan import by_sequence, choice, selective_scan, self_check, ss2d_scan
from mamkpd_jax.ops.selective_scan.implementations import pallas_triton, sequential
from mamkpd_jax.ops.selective_scan.workloads import Workload
from mamkpd_jax.registry import SCANS

_right = functools.partial(by_sequence.ss2d, sequential.scan)


def test_kernels_in_interpret_mode_agree():
    scan = dataclasses.replace(self_check.SCAN, interpret=True)
    assert self_check.fault(functools.partial(pallas_triton.ss2d, scan=scan)) is None


def _without_a_direction(u, proj, *weights):
    return _right(u, proj.at[:, :, :, 3].set(0), *weights)


def _with_a_steeper_gradient(u, *others):
    return _right(1.01 * u - jax.lax.stop_gradient(0.01 * u), *others)


def _wrong_in_bfloat16(u, *others):
    return _right(u, *others) * (1.1 if u.dtype == jnp.bfloat16 else 1)


def _nan(*arrays):
    return _right(*arrays) * jnp.nan


@pytest.mark.parametrize(
    ("scan", "reason"),
    [
        (_without_a_direction, "the result in float32 has a relative error of .*; expected at most 1e-04"),
        (_with_a_steeper_gradient, "the gradient of u in float32 has a relative error of 1.0e-02"),
        (_wrong_in_bfloat16, "the result in bfloat16"),
        (_nan, "the result in float32 has a relative error of nan"),
        # The real kernels' failure on a CPU.
        (functools.partial(pallas_triton.ss2d, scan=self_check.SCAN), "^ValueError: Only interpret mode is supported"),
    ],
)
def test_the_message_names_the_fault(scan, reason):
    assert re.search(reason, str(self_check.fault(scan)))


def _in_shard_map(function):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("data")
    return jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec)


def _under_settings(function):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,))
    settings = [jax.set_mesh(mesh), jax.enable_x64(True), jax.default_matmul_precision("bfloat16")]
    settings += [jax.transfer_guard("disallow"), jax.checking_leaks()]

    def run(x):
        with contextlib.ExitStack() as stack:
            for setting in settings:
                stack.enter_context(setting)
            return jax.jit(function)(x)

    return run


def _without_jit(function):
    return jax.disable_jit()(function)


@pytest.mark.parametrize(
    "transform",
    [
        lambda function: jax.jit(jax.vmap(jax.grad(function))),
        lambda function: functools.partial(jax.eval_shape, function),
        nnx.jit,
        _in_shard_map,
        _under_settings,
        _without_jit,
    ],
    ids=["jit of vmap of grad", "eval_shape", "nnx.jit", "shard_map", "settings", "disable_jit"],
)
def test_the_check_runs_under_any_transformation(transform):
    faults = []

    def function(x):
        faults.append(self_check.fault(_right))
        return 2 * x

    transform(function)(jnp.ones(2))
    assert set(faults) == {None}


@pytest.mark.parametrize(
    ("capability", "expected"), [("8.0", True), ("12.0", True), ("7.5", False), ("gfx942", False), ("", False)]
)
def test_compute_capability_8_is_supported(capability, expected):
    assert self_check.supported(capability) == expected


@pytest.fixture
def choose(monkeypatch):
    """Returns `ss2d_scan` on a pretended GPU that is `supported`; a `fault`, if given, replaces the kernels' check."""

    def pretend(supported=True, **fault):
        monkeypatch.setattr(export, "default_export_platform", lambda: "cuda")
        monkeypatch.setattr(self_check, "supported", lambda capability: supported)
        if fault:
            monkeypatch.setattr(self_check, "fault", lambda scan: fault["fault"])
        return ss2d_scan

    def clear():
        choice._choose.cache_clear()
        SCANS["pallas_triton"].fault.cache_clear()

    clear()
    yield pretend
    clear()


@pytest.mark.parametrize(
    ("platform", "names"),
    [
        ("cpu", ["sequential", "associative"]),
        ("cuda", ["pallas_triton", "associative", "sequential"]),
        ("tpu", ["associative", "sequential"]),
    ],
)
def test_implementations_are_ranked_by_platform(platform, names):
    assert choice.ranked(platform) == names


_ARGUMENTS = Workload(4, 3, 32, 2).arguments(2, jnp.float32, jax.random.key(0))


def test_failing_kernels_are_logged_once(choose, caplog):
    scan = choose()
    for _ in range(2):
        found = scan(*_ARGUMENTS)
    np.testing.assert_array_equal(found, ss2d_scan(*_ARGUMENTS, implementation="associative"))
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "pallas_triton fails its check on cpu (ValueError: Only interpret mode" in warning
    assert "the slower associative is used" in warning


def test_older_gpus_use_associative(choose, caplog):
    text = jax.jit(choose(supported=False)).lower(*_ARGUMENTS).as_text()
    assert text == jax.jit(functools.partial(ss2d_scan, implementation="associative")).lower(*_ARGUMENTS).as_text()
    assert "its compute capability is ''; expected 8.0 or newer); the slower associative is used" in caplog.text


def test_correct_kernels_are_used_only_on_cuda(choose):
    def gradients(scan):
        return jax.jit(jax.grad(lambda *arrays: jnp.sum(jnp.sin(scan(*arrays))), argnums=range(6)))

    expected = gradients(functools.partial(ss2d_scan, implementation="associative"))(*_ARGUMENTS)
    chosen = gradients(choose(fault=None))
    exported = export.export(chosen, platforms=["cpu"])(*_ARGUMENTS)
    for ours, theirs in zip(exported.call(*_ARGUMENTS), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    card = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu")
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=card)):
        text = chosen.trace(*_ARGUMENTS).lower(lowering_platforms=("cuda",)).as_text()
    assert "__gpu$xla.gpu.triton" in text and "scan_backward" in text


@pytest.mark.parametrize(
    ("gpu", "works"), [({"fault": None}, True), ({"fault": "no"}, False), ({"supported": False}, False), (None, False)]
)
def test_passes_check_needs_support_and_no_fault(choose, gpu, works):
    if gpu is not None:
        choose(**gpu)
    assert choice.passes_check("pallas_triton") == works


def test_a_symbolic_batch_uses_associative(choose):
    (b,) = export.symbolic_shape("b")
    shapes = [jax.ShapeDtypeStruct((b, *x.shape[1:]), x.dtype) for x in _ARGUMENTS[:2]]
    exported = export.export(jax.jit(choose(fault=None)), platforms=["cpu", "cuda"])(*shapes, *_ARGUMENTS[2:])
    expected = ss2d_scan(*_ARGUMENTS, implementation="associative")
    np.testing.assert_allclose(exported.call(*_ARGUMENTS), expected, rtol=1e-5, atol=1e-6)


def test_the_plain_scan_is_chosen_too(choose):
    choose(fault=None)
    rng = np.random.default_rng(0)
    u, delta = (jnp.float32(rng.uniform(size=(1, 4, 3))) for _ in range(2))
    A, BC = -jnp.ones((3, 1)), jnp.float32(rng.normal(size=(1, 4, 1)))
    expected = selective_scan(u, delta, A, BC, BC, reverse=True, implementation="associative")
    np.testing.assert_allclose(selective_scan(u, delta, A, BC, BC, reverse=True), expected, rtol=1e-6)
