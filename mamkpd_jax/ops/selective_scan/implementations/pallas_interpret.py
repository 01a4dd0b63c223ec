"""The kernels in interpret mode, to check them on any device. They are far too slow there to be chosen."""

import functools

from mamkpd_jax.ops.selective_scan.implementation import Implementation
from mamkpd_jax.ops.selective_scan.implementations import pallas_triton

IMPLEMENTATION = Implementation(
    ss2d=functools.partial(pallas_triton.ss2d, interpret=True),
    plain=functools.partial(pallas_triton.plain, interpret=True),
    serializable=False,
)
