"""mamkpd COMMAND --flags, or python -m mamkpd_jax COMMAND --flags."""

import sys

from mamkpd_jax import cli
from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import COMMANDS


def main() -> None:
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    try:
        command = COMMANDS[name]
    except UserError as error:
        sys.exit(f"error: {error}")
    cli.run(command)


if __name__ == "__main__":
    main()
