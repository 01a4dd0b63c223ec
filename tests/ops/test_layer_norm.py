"""Layer normalization, with and without its input as a result, against float64; and when its kernel is chosen."""

import functools
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from mamkpd_jax.bench import described_gpu
from mamkpd_jax.ops import layer_norm, layer_norm_kernel
from mamkpd_jax.ops.selective_scan import choice
from tests.ops.norms import Case


@pytest.mark.parametrize("form", [layer_norm._of_squares, layer_norm._of_centred])
@pytest.mark.parametrize("with_input", [False, True])
def test_values_and_gradients(monkeypatch, with_input, form):
    monkeypatch.setattr(layer_norm, "_of_squares", form)
    case = Case(with_input, (2, 5, 3, 24), "float32")
    y, pullback = jax.vjp(case.norm, *case.arguments())
    case.check([*y, *pullback(case.dys())], *case.expected())


# Programs take 16, 4, 1 and 1 rows at once. Each takes several blocks of rows, and the last ones are not full.
_SHAPES = (3, 23, 24), (7, 5, 96), (1, 2, 7, 384), (13, 600)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("with_input", [False, True])
def test_the_kernel_in_interpret_mode(monkeypatch, with_input, shape, dtype):
    monkeypatch.setattr(layer_norm_kernel, "_PROGRAMS", 3)
    case = Case(with_input, shape, dtype)
    found = layer_norm_kernel.gradients(1e-5, *case.arguments()[:2], *case.dys(), interpret=True)
    case.check(found, case.expected()[1])


def _lowered(case: Case, platform: str) -> str:
    def run(arguments, dys):
        return jax.vjp(case.norm, *arguments)[1](dys)

    if platform == "cuda":
        return described_gpu.lower(run, (case.arguments(), case.dys()), described_gpu.H200).as_text()
    return jax.jit(run).lower(case.arguments(), case.dys()).as_text()


@pytest.mark.parametrize("with_input", [False, True])
def test_the_kernel_is_used_only_on_cuda(monkeypatch, with_input):
    case, name = Case(with_input, (2, 3, 96), "bfloat16"), "layer_norm_backward"
    assert name not in _lowered(case, "cuda")
    plain = jax.jit(lambda *arguments: jax.vjp(case.norm, *arguments)[1](case.dys()))(*case.arguments())
    monkeypatch.setattr(layer_norm_kernel, "works", lambda: True)
    assert _lowered(case, "cuda").count(f'"{name}"') == 1
    assert name not in _lowered(case, "cpu")
    chosen = jax.jit(lambda *arguments: jax.vjp(case.norm, *arguments)[1](case.dys()))(*case.arguments())
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0.02, atol=0.02), chosen, plain)


@pytest.mark.parametrize("case", [Case(False, (2, 3, 1200), "float32"), Case(False, (96,), "float32")])
def test_unsuitable_shapes_use_no_kernel(monkeypatch, case):
    monkeypatch.setattr(layer_norm_kernel, "works", lambda: True)
    assert "layer_norm_backward" not in _lowered(case, "cuda")


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Pretends that the scan's kernels pass their check, and clears the cached check of the norm's kernel."""
    monkeypatch.setattr(choice, "passes_check", lambda name: True)
    layer_norm_kernel.works.cache_clear()
    yield monkeypatch
    layer_norm_kernel.works.cache_clear()


def test_a_kernel_that_agrees_works(on_a_gpu):
    on_a_gpu.setattr(layer_norm_kernel, "gradients", functools.partial(layer_norm_kernel.gradients, interpret=True))
    assert layer_norm_kernel.works()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_wrong_kernel_is_not_used(on_a_gpu, caplog, number):
    gradients = layer_norm_kernel.gradients

    def wrong(*arrays):
        return [x * (1.1 if i == number else 1) for i, x in enumerate(gradients(*arrays, interpret=True))]

    on_a_gpu.setattr(layer_norm_kernel, "gradients", wrong)
    assert not layer_norm_kernel.works()
    assert f"the gradient of {('x', 'scale', 'bias')[number]} in float32" in caplog.text


def test_a_failing_kernel_is_logged_once(on_a_gpu, caplog):
    for _ in range(2):
        assert not layer_norm_kernel.works()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "fails its check on cpu (ValueError: Only interpret mode" in warning


_BY_DEVICE = """
import functools, jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from mamkpd_jax.ops import layer_norm_kernel
from tests.ops.norms import Case

mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
case = Case(True, (4, 3, 5, 24), "float32")
run = jax.jit(functools.partial(layer_norm_kernel.gradients, 1e-5, interpret=True))
arrays = (*case.arguments()[:2], *case.dys())
one = run(*arrays)
put = jax.device_put(arrays, (split, whole, split, split))
compiled = run.lower(*put).compile()
text = compiled.as_text()
assert "all-reduce" in text  # sums the gradients of scale and bias, as only two devices need
assert "all-gather" not in text and "collective-permute" not in text and "all-to-all" not in text
for a, b in zip(one, compiled(*put)):
    assert jnp.allclose(a, b, rtol=1e-5, atol=1e-5), abs(a - b).max()
"""


def test_each_device_gets_its_part_of_the_batch(devices):
    done = subprocess.run(
        [sys.executable, "-c", _BY_DEVICE], env=os.environ | devices(2), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
