"""Benchmarks of the package, alone and beside peers: `mamkpd bench NAME` runs a module of `programs`."""
