"""Prediction with a trained model: the poses of images and videos, and drawings of them."""
