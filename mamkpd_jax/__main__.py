"""The program `mamkpd COMMAND`, the same as `python -m mamkpd_jax COMMAND`."""

import ast
import importlib.util
import sys
from pathlib import Path

from mamkpd_jax import __version__, cli
from mamkpd_jax.registry import COMMANDS


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        print(f"mamkpd_jax {__version__}")
    else:
        cli.run(cli.Choice("command", COMMANDS, _help))


def _help() -> str:
    """A line for each command: the first of its docstring, read without importing what it imports."""
    lines = ["mamkpd COMMAND [--FLAG=VALUE ...]; mamkpd COMMAND --help lists the flags", ""]
    for name in COMMANDS:
        spec = importlib.util.find_spec(f"mamkpd_jax.commands.{name}")
        assert spec is not None and spec.origin is not None
        text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
        lines.append(f"  {name.replace('_', '-'):14}{text.partition(chr(10))[0]}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
