"""Scans whose kernels are compiled for an H200, and run in the emulator instead of by Pallas."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl

from mamkpd_jax.bench import described_gpu
from mamkpd_jax.ops.selective_scan import selective_scan, ss2d_scan
from mamkpd_jax.ops.selective_scan.implementations import pallas_triton
from mamkpd_jax.registry import SCANS
from tests.ops.loops import plain_loop, ss2d_loop
from tests.ops.ptx.emulator import Kernel


@dataclasses.dataclass(frozen=True)
class Case:
    """A scan's sizes, for `ss2d_scan`; if `reverse` is not None, for `selective_scan` of a map's only row."""

    b: int = 2
    h: int = 6
    w: int = 4
    d: int = 32
    rank: int = 2
    n: int = 4
    dtype: str = "float32"
    reverse: bool | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arguments."""
        plain = ("u", "delta", "A", "B", "C", "D")
        return ("u", "proj", "dt_weight", "dt_bias", "A_log", "D") if self.reverse is None else plain

    def arguments(self, bias: tuple[float, float] = (-4.0, -1.0), a_log: float = 0.0) -> list[jax.Array]:
        """Random arguments: activations in the case's dtype, weights in fp32."""
        rng = np.random.default_rng(0)
        b, h, w, d, r, n = self.b, self.h, self.w, self.d, self.rank, self.n
        u, proj = rng.normal(size=(b, h, w, d)), rng.normal(size=(b, h, w, 4, r + 2 * n))
        weight, bias_of_delta = rng.normal(size=(4, r, d)) * 0.5, rng.uniform(*bias, size=(4, d))
        A_log, D = rng.normal(size=(4, d, n)) * 0.3 + a_log, rng.normal(size=(4, d))
        if self.reverse is None:
            activations, weights = (u, proj), (weight, bias_of_delta, A_log, D)
        else:
            rows, delta = proj[:, 0, :, 0], np.logaddexp(0, rng.normal(size=(b, w, d)) + bias_of_delta[0])
            activations, weights = (u[:, 0], delta, rows[..., r : r + n], rows[..., r + n :]), (-np.exp(A_log[0]), D[0])
        arrays = [jnp.asarray(x, self.dtype) for x in activations] + [jnp.float32(x) for x in weights]
        return arrays if self.reverse is None else [arrays[i] for i in (0, 1, 4, 2, 3, 5)]

    def dy(self) -> jax.Array:
        """A gradient of the result."""
        shape = (self.b, self.h, self.w, self.d) if self.reverse is None else (self.b, self.w, self.d)
        return jnp.asarray(np.random.default_rng(1).normal(size=shape), self.dtype)

    def with_gradients(self, implementation: str) -> Callable:
        """`(arguments, dy) -> (y, gradients)` of an implementation."""
        scan = functools.partial(ss2d_scan, implementation=implementation)
        if self.reverse is not None:
            scan = functools.partial(selective_scan, reverse=self.reverse, implementation=implementation)

        def run(arguments: Sequence[jax.Array], dy: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
            y, pullback = jax.vjp(scan, *arguments)
            return y, pullback(dy)

        return run

    def expected(self, arguments: Sequence[jax.Array], dy: jax.Array) -> tuple[np.ndarray, Sequence[np.ndarray]]:
        """y and the gradients in float64."""
        arrays = [np.float64(x) for x in (*arguments, dy)]
        return ss2d_loop(*arrays) if self.reverse is None else plain_loop(*arrays, reverse=self.reverse)


class CompiledScan:
    """A scan and its gradients by compiled kernels; everything around the kernels runs as usual on the CPU."""

    def __init__(self, case: Case):
        self.case = case
        self.kernels: dict[str, Kernel] = {}
        self.ptx: dict[str, str] = {}
        self._calls: dict[str, _Call] = {}
        self._pallas_call = pl.pallas_call
        start = time.process_time()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pl, "pallas_call", self._emulated_call)
            # Without jit, which would reuse the traces of kernels that a test has changed since.
            for name, value in {"ss2d": pallas_triton.ss2d, "plain": pallas_triton.plain, "platform": None}.items():
                patch.setattr(SCANS["pallas_triton"], name, value)
            lowered = jax.jit(case.with_gradients("pallas_triton")).lower(case.arguments(), case.dy())
        self._run = lowered.compile()
        self.compile_seconds = time.process_time() - start

    def __call__(self, arguments: Sequence[jax.Array], dy: jax.Array) -> tuple[np.ndarray, list[np.ndarray]]:
        """y and the gradients."""
        y, gradients = jax.block_until_ready(self._run(list(arguments), dy))
        return np.asarray(y), [np.asarray(x) for x in gradients]

    def against_interpret_mode(self) -> dict[str, float]:
        """The error of each kernel's outputs in the latest run, against interpret mode on the same inputs."""
        errors = {}
        for name, call in self._calls.items():
            scan, *rest = call.kernel.args
            kernel = functools.partial(call.kernel.func, dataclasses.replace(scan, interpret=True), *rest)
            expected = jax.jit(self._pallas_call(kernel, **call.options | {"interpret": True}))(*call.inputs)
            pairs = zip(call.outputs, expected, strict=True)
            errors[name] = float(np.max([error(ours, theirs) for ours, theirs in pairs]))
        return errors

    def _emulated_call(self, kernel: functools.partial, **options) -> Callable:
        """Replaces `pl.pallas_call`."""

        def call(*arrays: jax.Array) -> list[jax.Array]:
            name, shapes = options["name"], [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]
            on_a_gpu = self._pallas_call(kernel, **options)
            (compiled,) = described_gpu.kernels(on_a_gpu, shapes, described_gpu.H200).values()
            self.ptx[name], self.kernels[name] = compiled.ptx, Kernel(compiled.ptx)
            one = self._calls[name] = _Call(kernel, options)

            def run(*arrays: jax.Array) -> list[np.ndarray]:
                one.inputs = [np.asarray(x) for x in arrays]
                outputs = [(x.shape, x.dtype) for x in options["out_shape"]]
                one.outputs = self.kernels[name].run(compiled.grid, one.inputs, outputs)
                return one.outputs

            return jax.pure_callback(run, options["out_shape"], *arrays, vmap_method="sequential")

        return call


@dataclasses.dataclass
class _Call:
    kernel: functools.partial
    options: dict
    inputs: list[np.ndarray] = dataclasses.field(default_factory=list)
    outputs: list[np.ndarray] = dataclasses.field(default_factory=list)


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest error, relative to the largest value."""
    found, expected = np.float64(found), np.float64(expected)
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))
