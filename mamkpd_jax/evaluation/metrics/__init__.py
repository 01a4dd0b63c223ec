"""One module for each metric, named as in `config.eval.metrics` up to the first "_" or "@"."""
