"""The same as `mamkpd eval`."""

from mamkpd_jax import cli
from mamkpd_jax.commands.eval import main

if __name__ == "__main__":
    cli.run(main)
