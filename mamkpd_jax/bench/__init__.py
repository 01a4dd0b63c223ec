"""Measurements: `python -m mamkpd_jax.bench` times parts on the device at hand, `kernel_report` needs none."""
