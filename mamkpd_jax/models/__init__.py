"""MamKPD: encoder, decoder and their assembly."""
