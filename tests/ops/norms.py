"""Cases of layer norms, with their values and gradients in float64."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mamkpd_jax.ops.layer_norm import layer_norm, layer_norm_and_input

_TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-2}


@dataclasses.dataclass(frozen=True)
class Case:
    """A norm of x with a shape and dtype; if `with_input`, x is also a result."""

    with_input: bool
    shape: tuple[int, ...]
    dtype: str

    def arguments(self) -> list[jax.Array]:
        """x, scale and bias."""
        rng, d = np.random.default_rng(0), self.shape[-1]
        return [jnp.asarray(rng.normal(size=self.shape) + 1, self.dtype), *jnp.float32(rng.normal(size=(2, d)))]

    def dys(self) -> tuple[jax.Array, ...]:
        """Gradients of the results."""
        dys = np.random.default_rng(1).normal(size=(1 + self.with_input, *self.shape))
        return tuple(jnp.asarray(dy, self.dtype) for dy in dys)

    def norm(self, *arguments: jax.Array) -> tuple[jax.Array, ...]:
        """The norm, and if `with_input` x."""
        return layer_norm_and_input(*arguments) if self.with_input else (layer_norm(*arguments),)

    def expected(self) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
        """Results and gradients in float64."""

        def plain(x, scale, bias):
            centred = x - x.mean(-1, keepdims=True)
            y = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + bias
            return (y, x) if self.with_input else (y,)

        with jax.enable_x64():
            arguments, dys = ([jnp.asarray(np.float64(a)) for a in arrays] for arrays in (self.arguments(), self.dys()))
            results, pullback = jax.vjp(plain, *arguments)
            return jax.device_get((results, pullback(tuple(dys))))

    def check(self, found: Sequence[jax.Array], *expected: Sequence[np.ndarray]) -> None:
        """Asserts that arrays agree, with a tolerance relative to each array's largest entry."""
        for ours, truth in zip(found, [array for arrays in expected for array in arrays], strict=True):
            atol = _TOLERANCES[self.dtype] * np.abs(truth).max()
            np.testing.assert_allclose(np.float64(ours).reshape(truth.shape), truth, rtol=0, atol=atol)
