"""The load test of `mamkpd serve`: what clients send, the clients, and the server's process."""
