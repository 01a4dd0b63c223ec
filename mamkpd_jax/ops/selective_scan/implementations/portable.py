"""The best serializable implementation of each platform, for programs that are exported for several platforms."""

from mamkpd_jax.ops.selective_scan.choice import by_platform, serializable

IMPLEMENTATION = by_platform(serializable)
