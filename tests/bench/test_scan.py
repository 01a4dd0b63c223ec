"""The benchmark of the scan: it detects wrong results, its lower bounds grow with the work, tilings agree."""

import functools

import jax.numpy as jnp

from mamkpd_jax.bench.programs import scan
from mamkpd_jax.ops.selective_scan import ss2d_scan
from mamkpd_jax.ops.selective_scan.workloads import Workload

_WORK = Workload(4, 3, 8, 2)


def test_wrong_scan_is_not_correct():
    right = functools.partial(ss2d_scan, implementation="sequential")
    assert scan.errors(right, _WORK, 1, jnp.dtype(jnp.bfloat16))["correct"]
    assert not scan.errors(lambda *a: 1.1 * right(*a), _WORK, 1, jnp.dtype(jnp.float32))["correct"]


def test_cpu_floor_is_bytes_over_bandwidth():
    forward = scan.floor_ms(_WORK, batch=2, size=4, direction="forward", bytes_a_second=1e6)
    assert forward == (5 * 2 * 12 * 8 * 4 + 2 * 12 * 4 * 4 * 4) / 1e6 * 1e3
    assert scan.floor_ms(_WORK, batch=2, size=4, direction="forward+backward", bytes_a_second=1e6) > 3 * forward


def test_failed_contender_has_a_reason():
    def broken(*_):
        raise ValueError("no such kernel\nmore of it")

    found = scan.errors(broken, _WORK, 1, jnp.dtype(jnp.float32))
    assert not found["correct"] and found["failed"] == "no such kernel"


def test_tilings_give_correct_results():
    work = Workload(8, 8, 32, 2)
    scans = scan.with_tilings({"pallas_interpret": ss2d_scan}, work, 1)
    assert list(scans) == ["pallas_interpret", "pallas_interpret, loads a chunk ahead", "pallas_interpret, no segments"]
    for name in list(scans)[1:]:
        assert scan.errors(scans[name], work, 1, jnp.dtype(jnp.float32))["correct"], name


def test_tilings_without_effect_are_left_out():
    kernels = functools.partial(ss2d_scan, implementation="pallas_interpret")
    scans = {"sequential": kernels, "pallas_interpret": kernels}
    # A map of 256 tokens has at most 16 segments, so 4 programs become 64 at most.
    work, ahead = Workload(16, 16, 32, 2), "pallas_interpret, loads a chunk ahead"
    assert list(scan.with_tilings(scans, work, 1)) == [*scans, ahead, "pallas_interpret, no segments"]
    more = ["pallas_interpret, 4 times the programs", "pallas_interpret, 8 times the programs"]
    assert list(scan.with_tilings(scans, work, 128)) == [*scans, ahead, *more]
