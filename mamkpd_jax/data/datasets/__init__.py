"""The data sets, one a module, named as in `config.data.dataset`. Each module's DATASET is its entry."""
