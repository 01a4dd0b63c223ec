"""Plots like the paper's figures, from your checkpoints, logs and result files."""
