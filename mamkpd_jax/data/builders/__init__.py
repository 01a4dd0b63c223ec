"""Shared parts of the TFDS builders of the data sets. They write and read array_record files without TensorFlow."""
