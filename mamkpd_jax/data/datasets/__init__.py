"""One module for each data set, named as in `config.data.dataset`. Its DATASET is the builder class."""
