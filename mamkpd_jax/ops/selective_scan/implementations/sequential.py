"""The loop over tokens.

A CPU has nothing to gain from the parallel prefix, which does more arithmetic: for Base's first stage at batch 2 it
takes several times as long as the loop (`python -m mamkpd_jax.bench scan`).
"""

from mamkpd_jax.ops.selective_scan import by_sequence, sequential

IMPLEMENTATION = by_sequence.implementation(sequential.scan, ranks={"cpu": 2, "default": 0})
