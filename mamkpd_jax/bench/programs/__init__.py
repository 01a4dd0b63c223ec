"""The benches that `mamkpd bench NAME` starts, one module each."""
