"""The interface of an implementation of the selective scan, for the modules of `implementations/`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import jax
from jax import Array
from jaxtyping import Float


@runtime_checkable
class MapScan(Protocol):
    """The sum of a map's scans in four directions; arguments as in `ss2d_scan`, with fp32 weights."""

    def __call__(
        self,
        u: Float[Array, "b h w d"],
        proj: Float[Array, "b h w k p"],
        dt_weight: Float[Array, "k r d"],
        dt_bias: Float[Array, "k d"],
        A_log: Float[Array, "k d n"],
        D: Float[Array, "k d"],
        /,
    ) -> Float[Array, "b h w d"]: ...


@runtime_checkable
class SequenceScan(Protocol):
    """The scan of a sequence; arguments as in `selective_scan`, with A and D in fp32."""

    def __call__(
        self,
        u: Float[Array, "b l d"],
        delta: Float[Array, "b l d"],
        A: Float[Array, "d n"],
        B: Float[Array, "b l n"],
        C: Float[Array, "b l n"],
        D: Float[Array, " d"],
        /,
        *,
        reverse: bool,
    ) -> Float[Array, "b l d"]: ...


@dataclasses.dataclass(kw_only=True, eq=False)
class Implementation:
    """An entry of `registry.SCANS`. Platforms are JAX's lowering platforms: "cpu", "cuda", "rocm" or "tpu".

    Both functions are jitted, so that a model's scans of one shape are traced and lowered once.
    """

    ss2d: MapScan
    plain: SequenceScan
    # By platform; "default" is for platforms that are not listed. If no implementation is named, the highest rank is
    # chosen. Without a rank for a platform it is never chosen there.
    ranks: Mapping[str, int] = dataclasses.field(default_factory=dict)
    platform: str | None = None  # the only platform that it runs on; None: it runs on all
    serializable: bool = True  # whether jax.export can serialize it, with a symbolic batch too
    fault: Callable[[], str | None] = lambda: None  # why it can't be used on this process's devices; None: it can

    def __post_init__(self):
        self.ss2d = jax.jit(self.ss2d)
        self.plain = jax.jit(self.plain, static_argnames="reverse")

    def rank(self, platform: str) -> int | None:
        """Its rank on a platform, or None if it is never chosen there."""
        return self.ranks.get(platform, self.ranks.get("default"))
