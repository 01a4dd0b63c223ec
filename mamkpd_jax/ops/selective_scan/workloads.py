"""The scan's shapes in the model's stages, by name, for a 256x192 crop (96x64 in the quickstart)."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


@dataclasses.dataclass(frozen=True)
class Workload:
    """A four-direction scan of one map."""

    h: int
    w: int
    d: int
    rank: int
    n: int = 1

    def shapes(self, batch: int, dtype: DTypeLike) -> list[jax.ShapeDtypeStruct]:
        """The shapes of `ss2d_scan`'s arguments: activations in `dtype`, weights in fp32."""
        return [
            jax.ShapeDtypeStruct((batch, self.h, self.w, self.d), dtype),
            jax.ShapeDtypeStruct((batch, self.h, self.w, 4, self.rank + 2 * self.n), dtype),
            jax.ShapeDtypeStruct((4, self.rank, self.d), jnp.float32),
            jax.ShapeDtypeStruct((4, self.d), jnp.float32),
            jax.ShapeDtypeStruct((4, self.d, self.n), jnp.float32),
            jax.ShapeDtypeStruct((4, self.d), jnp.float32),
        ]

    def arguments(self, batch: int, dtype: DTypeLike, key: Array) -> list[Array]:
        """Random arguments for `ss2d_scan`, with delta and A as they are at initialisation."""
        scales, shifts = (1.0, 1.0, self.rank**-0.5, 1.0, 0.3, 1.0), (0.0, 0.0, 0.0, -4.0, 0.0, 0.0)
        shapes = self.shapes(batch, dtype)
        keys = jax.random.split(key, len(shapes))
        return [
            (scale * jax.random.normal(key, shape.shape) + shift).astype(shape.dtype)
            for key, shape, scale, shift in zip(keys, shapes, scales, shifts, strict=True)
        ]


WORKLOADS = {
    "base stage 1": Workload(64, 48, 96, 6),
    "base stage 2": Workload(32, 24, 192, 12),
    "base stage 3": Workload(16, 12, 384, 24),
    "large stage 1": Workload(64, 48, 128, 8),
    "quickstart stage 1": Workload(24, 16, 32, 2),
}
