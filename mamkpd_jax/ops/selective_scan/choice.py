"""The implementations of the selective scan, and which of them runs."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
from absl import logging
from jax import Array, export, lax

from mamkpd_jax.ops.selective_scan import associative, by_sequence, pallas_triton, self_check, sequential


class Implementation(NamedTuple):
    ss2d: Callable[..., Array]
    plain: Callable[..., Array]
    platform: str | None = None  # the only one that it runs on


def _implementation(
    ss2d: Callable[..., Array], plain: Callable[..., Array], platform: str | None = None
) -> Implementation:
    """Under jit: a model's scans of one shape are traced and lowered once."""
    return Implementation(jax.jit(ss2d), jax.jit(plain, static_argnames="reverse"), platform)


def _by_sequence(scan: Callable[..., Array]) -> Implementation:
    return _implementation(functools.partial(by_sequence.ss2d, scan), functools.partial(by_sequence.plain, scan))


IMPLEMENTATIONS = {
    "sequential": _by_sequence(sequential.scan),
    "associative": _by_sequence(associative.scan),
    "pallas_triton": _implementation(pallas_triton.ss2d, pallas_triton.plain, platform="gpu"),
    # The same kernels in plain jax operations, to check them on any device; no one wants to wait for it.
    "pallas_interpret": _implementation(
        functools.partial(pallas_triton.ss2d, interpret=True), functools.partial(pallas_triton.plain, interpret=True)
    ),
}


def resolve(name: str | None) -> Implementation:
    """The implementation of a name, or the one for this process's platform.

    Raises:
        ValueError: there is none of that name, or it can't run here.
    """
    platform = jax.default_backend()
    if name is None:
        return _choose(platform)
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"implementation is {name!r}; expected None or one of {', '.join(IMPLEMENTATIONS)}")
    implementation = IMPLEMENTATIONS[name]
    if implementation.platform not in (None, platform):
        raise ValueError(
            f"implementation is {name!r}, which runs on {implementation.platform} alone, and this is {platform}; "
            "expected None, which chooses what runs here, or another name"
        )
    return implementation


def kernels_work() -> bool:
    """Whether this process's GPUs support the Pallas kernels and the scan's kernels pass their check."""
    platform = jax.default_backend()
    return platform == "gpu" and _choose(platform) is not IMPLEMENTATIONS["associative"]


@functools.cache
def _choose(platform: str) -> Implementation:
    """The implementation for a platform, logged once.

    A CPU has nothing to gain from the parallel prefix, which does more arithmetic: for Base's first stage at batch 2
    it takes several times as long as the loop (`mamkpd bench scan`). A GPU gets the kernels if they are
    meant for it and pass their check.
    """
    name = "sequential" if platform == "cpu" else "associative"
    chosen = IMPLEMENTATIONS[name]
    devices = jax.local_devices()
    if all(self_check.supported(getattr(device, "compute_capability", "")) for device in devices):
        fault = self_check.fault(functools.partial(pallas_triton.ss2d, scan=self_check.SCAN))
        if fault is None:
            name, chosen = "pallas_triton", _on_cuda(IMPLEMENTATIONS["pallas_triton"], chosen)
        else:
            message = "selective scan: pallas_triton fails its check on %s (%s); the slower %s is used"
            logging.warning(message, devices[0].device_kind, fault, name)
    logging.info("selective scan on %s: %s", platform, name)
    return chosen


def _on_cuda(kernels: Implementation, others: Implementation) -> Implementation:
    """The kernels in what is lowered for CUDA, and another implementation in what is exported for, or run on, a CPU.

    A batch that is a symbol, as exports may have it, is for the other one too: the kernels are cut for a number.
    """

    def by_platform(cuda: Callable[..., Array], default: Callable[..., Array], *arrays: Array, **options) -> Array:
        if export.is_symbolic_dim(arrays[0].shape[0]):
            return default(*arrays, **options)
        branches = {"cuda": functools.partial(cuda, **options), "default": functools.partial(default, **options)}
        return lax.platform_dependent(*arrays, **branches)

    return _implementation(
        functools.partial(by_platform, kernels.ss2d, others.ss2d),
        functools.partial(by_platform, kernels.plain, others.plain),
    )
