"""A local page on which a person tries a trained model on a picture."""
