"""Training: state, step, optimizer, mesh, checkpoints, logs."""
