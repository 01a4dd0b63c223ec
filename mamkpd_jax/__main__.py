"""The program `mamkpd COMMAND`, the same as `python -m mamkpd_jax COMMAND`."""

import sys

from mamkpd_jax import __version__, cli
from mamkpd_jax.registry import COMMANDS

_USAGE = "mamkpd COMMAND [--FLAG=VALUE ...]; mamkpd COMMAND --help lists the flags\n\n"


def main() -> None:
    """Runs the command that the first argument names, or prints the version or the list of commands."""
    if sys.argv[1:] == ["--version"]:
        print(f"mamkpd_jax {__version__}")
    else:
        cli.run(cli.Choice("command", COMMANDS, lambda: _USAGE + COMMANDS.summaries()))


if __name__ == "__main__":
    main()
