"""The parallel prefix in chunks, for devices with many cores and no kernels."""

from mamkpd_jax.ops.selective_scan import associative, by_sequence

IMPLEMENTATION = by_sequence.implementation(associative.scan, ranks={"default": 1})
