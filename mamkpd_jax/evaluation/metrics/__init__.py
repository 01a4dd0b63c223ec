"""The metrics, one a module, named as in `config.eval.metrics` up to the first "_" or "@"."""
