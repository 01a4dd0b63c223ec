"""Training: state, step, optimizer, checkpoints, guards, logs."""
