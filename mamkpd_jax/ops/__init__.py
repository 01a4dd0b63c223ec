"""Array operations without Flax: one op, one folder."""
