"""Trained models: config, skeleton and weights in one object, its storage formats, and the PyTorch twin."""
