"""The benchmarks of `mamkpd bench NAME`, one module each."""
