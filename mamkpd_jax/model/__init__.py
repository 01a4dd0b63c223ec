"""Neural network layers of MamKPD, channel-last."""
