"""The load test of `mamkpd serve`: messages, clients, and the server process."""
