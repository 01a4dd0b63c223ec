"""Every implementation of the selective scan against loops in float64 written from the equations."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mamkpd_jax.ops.selective_scan import IMPLEMENTATIONS, selective_scan, ss2d_scan

_NAMES = ("u", "proj", "dt_weight", "dt_bias", "A_log", "D")


@dataclasses.dataclass(frozen=True)
class Case:
    """A four-direction scan: sizes, and the range of delta's bias."""

    b: int = 2
    h: int = 5
    w: int = 7
    d: int = 6
    r: int = 2
    n: int = 1
    bias: tuple[float, float] = (-4.0, -1.0)

    def arguments(self) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(0)
        return (
            rng.normal(size=(self.b, self.h, self.w, self.d)),
            rng.normal(size=(self.b, self.h, self.w, 4, self.r + 2 * self.n)),
            rng.normal(size=(4, self.r, self.d)) * 0.5,
            rng.uniform(*self.bias, size=(4, self.d)),
            rng.normal(size=(4, self.d, self.n)) * 0.3,
            rng.normal(size=(4, self.d)),
        )


CASES = {
    "odd": Case(),
    "tall, four states": Case(h=9, w=4, n=4),
    "sixteen states": Case(h=3, w=5, d=4, n=16),
    "one token": Case(h=1, w=1),
    "one row": Case(h=1, w=13),
    "one column": Case(h=11, w=1, n=4),
    "longer than a chunk": Case(b=1, h=13, w=11, d=3),
    "large delta": Case(bias=(20.0, 60.0)),
    "tiny delta": Case(bias=(-30.0, -18.0)),
}


def _visits(h: int, w: int, direction: int) -> list[tuple[int, int]]:
    rows = [(i, j) for i in range(h) for j in range(w)]
    columns = [(i, j) for j in range(w) for i in range(h)]
    return [rows, columns, rows[::-1], columns[::-1]][direction]


def ss2d_loop(u, proj, dt_weight, dt_bias, A_log, D, dy):
    """Values, and the gradients of sum(y dy), by hand, token after token, in float64."""
    b, h, w, d = u.shape
    r, n = dt_weight.shape[1], A_log.shape[2]
    y = np.zeros_like(u)
    g = [np.zeros_like(a) for a in (u, proj, dt_weight, dt_bias, A_log, D)]
    du, dproj, dweight, dbias, dA_log, dD = g
    for k in range(4):
        A = -np.exp(A_log[k])
        state, saved = np.zeros((b, d, n)), []
        for i, j in _visits(h, w, k):
            low, B, C = np.split(proj[:, i, j, k], [r, r + n], axis=1)
            z = low @ dt_weight[k] + dt_bias[k]
            delta = np.logaddexp(0, z)
            decay = np.exp(delta[:, :, None] * A)
            before = state
            state = decay * before + (delta * u[:, i, j])[:, :, None] * B[:, None, :]
            y[:, i, j] += (state * C[:, None, :]).sum(2) + D[k] * u[:, i, j]
            saved.append((i, j, low, B, C, z, delta, decay, before, state))
        dstate = np.zeros((b, d, n))
        for i, j, low, B, C, z, delta, decay, before, state in reversed(saved):
            gy, x = dy[:, i, j], u[:, i, j]
            dD[k] += (gy * x).sum(0)
            dstate = dstate + gy[:, :, None] * C[:, None, :]
            dC = (state * gy[:, :, None]).sum(1)
            dB = (dstate * (delta * x)[:, :, None]).sum(1)
            ddecay = dstate * before
            ddelta = (ddecay * decay * A).sum(2) + (dstate * B[:, None, :]).sum(2) * x
            dA_log[k] += (ddecay * decay * delta[:, :, None]).sum(0) * A
            du[:, i, j] += gy * D[k] + (dstate * B[:, None, :]).sum(2) * delta
            dz = ddelta / (1 + np.exp(-z))
            dbias[k] += dz.sum(0)
            dweight[k] += low.T @ dz
            dproj[:, i, j, k] += np.concatenate([dz @ dt_weight[k].T, dB, dC], axis=1)
            dstate = dstate * decay
    return y, g


def _relative(found, wanted) -> float:
    return float(np.abs(np.float64(found) - wanted).max() / max(np.abs(wanted).max(), 1e-30))


@pytest.fixture(params=list(IMPLEMENTATIONS))
def scan(request):
    return functools.partial(ss2d_scan, implementation=request.param)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_values_and_gradients(scan, case):
    arguments = [np.float64(np.float32(a)) for a in case.arguments()]
    dy = np.float64(np.float32(np.random.default_rng(1).normal(size=arguments[0].shape)))
    wanted, gradients = ss2d_loop(*arguments, dy)
    arrays = [jnp.float32(a) for a in arguments]
    found, pullback = jax.vjp(jax.jit(scan), *arrays)
    assert _relative(found, wanted) < 2e-6
    for name, got, want in zip(_NAMES, pullback(jnp.float32(dy)), gradients, strict=True):
        assert _relative(got, want) < 1e-5, name


def test_bfloat16_inputs(scan):
    case = Case(n=4)
    arrays = [jnp.asarray(a, jnp.bfloat16 if i < 2 else jnp.float32) for i, a in enumerate(case.arguments())]
    dy = jnp.asarray(np.random.default_rng(1).normal(size=arrays[0].shape), jnp.bfloat16)
    wanted, gradients = ss2d_loop(*[np.float64(a) for a in arrays], np.float64(dy))
    found, pullback = jax.vjp(scan, *arrays)
    assert found.dtype == jnp.bfloat16
    assert _relative(found, wanted) < 1e-2
    for name, got, want in zip(_NAMES, pullback(dy), gradients, strict=True):
        assert _relative(got, want) < 2e-2, name


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
        for name in IMPLEMENTATIONS:
            found = selective_scan(*map(jnp.asarray, (u, delta, A, B, C, D)), reverse, implementation=name)
            assert _relative(found[0], wanted) < 2e-6


def test_a_bad_example_stays_alone(scan):
    arrays = [jnp.float32(a) for a in Case(b=3, n=4).arguments()]
    good = scan(*arrays)
    for bad in (jnp.nan, jnp.inf):
        found = scan(arrays[0].at[1, 2, 3].set(bad), *arrays[1:])
        assert not np.isfinite(found[1]).all()
        np.testing.assert_array_equal(found[0], good[0])
        np.testing.assert_array_equal(found[2], good[2])


def test_empty_batch_vmap_and_checkpoint(scan):
    arrays = [jnp.float32(a) for a in Case().arguments()]
    assert scan(arrays[0][:0], arrays[1][:0], *arrays[2:]).shape == (0, 5, 7, 6)
    whole = scan(*arrays)
    single = jax.vmap(lambda u, proj: scan(u[None], proj[None], *arrays[2:])[0])(arrays[0], arrays[1])
    np.testing.assert_allclose(single, whole, rtol=1e-5, atol=1e-6)
    plain, remat = (jax.grad(lambda u, f=f: f(u, *arrays[1:]).sum())(arrays[0]) for f in (scan, jax.checkpoint(scan)))
    np.testing.assert_allclose(remat, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proj": np.zeros((2, 5, 7, 4, 5), np.float32)}, "proj has shape .*expected"),
        ({"dt_bias": np.zeros((4, 5), np.float32)}, "dt_bias has shape"),
        ({"u": np.zeros((2, 5, 7, 6), np.int32)}, "u has dtype int32"),
        ({"implementation": "cuda"}, "'cuda'; expected None or one of sequential, associative"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = dict(zip(_NAMES, (jnp.float32(a) for a in Case().arguments()), strict=True)) | {
        name: value if isinstance(value, str) else jnp.asarray(value) for name, value in change.items()
    }
    # The checks are the function's own: without the type checker of the test suite in front of it.
    with pytest.raises(ValueError, match=message):
        ss2d_scan.__wrapped__(**arguments) if hasattr(ss2d_scan, "__wrapped__") else ss2d_scan(**arguments)
