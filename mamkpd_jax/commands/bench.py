"""Runs one of the benches of mamkpd_jax/bench/programs; without a name it lists them.

mamkpd bench NAME --output=FILE.json
"""

import sys
from collections.abc import Callable

from mamkpd_jax.registry import BENCHES


def __getattr__(attribute: str) -> Callable[[], None]:
    """`main` is that of the bench that the command line names.

    A bench defines its flags when it is imported, so it must be imported before the flags are parsed.
    """
    if attribute != "main":
        raise AttributeError(attribute)
    if len(sys.argv) == 1 or sys.argv[1].startswith("-"):
        del sys.argv[1:]
        return _list
    return BENCHES[sys.argv.pop(1)]


def _list() -> None:
    for name in BENCHES.names():
        print(f"{name:20}{BENCHES.summary(name)}")
