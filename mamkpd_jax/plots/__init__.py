"""The paper's figures, from your checkpoints, logs and results."""
