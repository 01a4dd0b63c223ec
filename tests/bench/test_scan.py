"""The scan's bench: wrong results are told from right ones, and floors grow with the work."""

import functools

import jax.numpy as jnp

from mamkpd_jax.bench import scan
from mamkpd_jax.ops.selective_scan import ss2d_scan, tiling
from mamkpd_jax.ops.selective_scan.workloads import Workload

_WORK = Workload(4, 3, 8, 2)


def test_errors_tell_a_wrong_scan_from_a_right_one():
    right = functools.partial(ss2d_scan, implementation="sequential")
    assert scan.errors(scan.Contender(right), _WORK, 1, jnp.dtype(jnp.bfloat16))["correct"]
    wrong = scan.Contender(lambda *a: 1.1 * right(*a))
    assert not scan.errors(wrong, _WORK, 1, jnp.dtype(jnp.float32))["correct"]


def test_floor_is_the_bytes_over_the_bandwidth_without_a_gpu():
    forward = scan.floor_ms(_WORK, batch=2, size=4, direction="forward", bytes_a_second=1e6)
    assert forward == (5 * 2 * 12 * 8 * 4 + 2 * 12 * 4 * 4 * 4) / 1e6 * 1e3
    assert scan.floor_ms(_WORK, batch=2, size=4, direction="forward+backward", bytes_a_second=1e6) > 3 * forward


def test_a_contender_that_fails_gives_its_reason():
    def broken(*_):
        raise ValueError("no such kernel\nmore of it")

    found = scan.errors(scan.Contender(broken), _WORK, 1, jnp.dtype(jnp.float32))
    assert not found["correct"] and found["failed"] == "no such kernel"


def test_every_tiling_overrides_constants_that_exist():
    for constants in scan.TILINGS.values():
        assert all(hasattr(tiling, name) for name in constants)


def test_tilings_that_change_nothing_are_left_out():
    kernels = functools.partial(ss2d_scan, implementation="pallas_interpret")
    scans = {"sequential": scan.Contender(kernels), "pallas_interpret": scan.Contender(kernels)}
    # A map of 256 tokens has at most 16 segments, so 4 programs become 64 at most.
    of_one = scan.with_tilings(scans, Workload(16, 16, 32, 2), 1, jnp.dtype(jnp.float32))
    assert list(of_one) == [*scans, "pallas_interpret, no segments"]
    of_many = scan.with_tilings(scans, Workload(16, 16, 32, 2), 128, jnp.dtype(jnp.float32))
    assert list(of_many) == [*scans, "pallas_interpret, 4 times the programs", "pallas_interpret, 8 times the programs"]


def test_a_tiling_holds_only_inside_its_block():
    before = tiling._SCHEDULERS
    with scan.Contender(ss2d_scan, {"_SCHEDULERS": 7}).cut():
        assert tiling._SCHEDULERS == 7
    assert before == tiling._SCHEDULERS
