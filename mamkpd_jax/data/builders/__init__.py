"""TFDS builders of the data sets, written and read as array_record files without TensorFlow."""
