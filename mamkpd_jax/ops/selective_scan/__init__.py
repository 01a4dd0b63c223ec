"""The selective scan, plain and over the four directions of a map."""

from mamkpd_jax.ops.selective_scan.api import selective_scan, ss2d_scan

__all__ = ["selective_scan", "ss2d_scan"]
