"""The HTTP server of `mamkpd serve`: poses of the pictures that clients send, and the demo's page."""
