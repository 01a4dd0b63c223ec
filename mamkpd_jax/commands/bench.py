"""Measures speed, memory and accuracy.

mamkpd bench NAME [--output=FILE.json] [--FLAG=VALUE ...]; mamkpd bench NAME --help lists the flags
"""

from mamkpd_jax import cli
from mamkpd_jax.registry import BENCHES

main = cli.Choice("bench", BENCHES, lambda: f"{__doc__}\n{BENCHES.summaries()}")
