"""A trained model as one thing, and the forms in which it is stored: orbax, safetensors and .pth; its PyTorch twin."""
