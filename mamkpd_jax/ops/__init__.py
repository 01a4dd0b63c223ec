"""Array operations without Flax."""
