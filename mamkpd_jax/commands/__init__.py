"""The commands of `mamkpd COMMAND`, one module each."""
