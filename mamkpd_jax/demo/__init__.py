"""A web page for trying trained models on pictures and the camera."""
