"""The Pallas kernels for NVIDIA GPUs of compute capability 8.0 or newer."""

import functools

import jax

from mamkpd_jax.ops.selective_scan import pallas_triton, self_check
from mamkpd_jax.ops.selective_scan.implementation import Implementation


@functools.cache
def fault() -> str | None:
    """Why the kernels can't be used on this process's GPUs; None if they can."""
    for device in jax.local_devices():
        capability = getattr(device, "compute_capability", "")
        if not self_check.supported(capability):
            return f"its compute capability is {capability!r}; expected 8.0 or newer"
    return self_check.fault(functools.partial(pallas_triton.ss2d, scan=self_check.SCAN))


IMPLEMENTATION = Implementation(
    ss2d=pallas_triton.ss2d,
    plain=pallas_triton.plain,
    ranks={"cuda": 2},
    platform="cuda",
    serializable=False,
    fault=fault,
)
