"""The same as `mamkpd train`."""

from mamkpd_jax import cli
from mamkpd_jax.commands.train import main

if __name__ == "__main__":
    cli.run(main)
