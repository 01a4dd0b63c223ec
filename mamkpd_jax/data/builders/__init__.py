"""What the TFDS builders of the data sets share: array_record files, written and read without TensorFlow."""
