"""The network: layers, blocks, encoder, and the table of variants. Maps are channel-last."""
