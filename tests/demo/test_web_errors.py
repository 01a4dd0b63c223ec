"""What the web demo's page reports when something is wrong."""
