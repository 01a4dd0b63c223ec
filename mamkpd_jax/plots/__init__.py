"""The paper's figures, from checkpoints, logs and results of one's own."""
