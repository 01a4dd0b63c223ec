"""Other top-down networks in PyTorch, trained on this project's batches and scored by its evaluator."""
