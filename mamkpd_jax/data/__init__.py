"""Data sets, crops, augmentation and batches."""
