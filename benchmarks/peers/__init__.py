"""Other top-down networks in PyTorch, trained on this project's batches and scored by its evaluator."""

# Here, since naming them takes no torch.
PEERS = ("simple_baseline", "hrnet_w32", "vit_s")
