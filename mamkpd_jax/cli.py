"""How the command-line programs start: the `--config` flag, and mistakes of the user told in one line."""

import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from mamkpd_jax.config import Config
from mamkpd_jax.errors import UserError

_OURS = str(Path(__file__).parents[1])


def define_config() -> flags.FlagHolder[Config]:
    """The flag `--config=configs/NAME.py`, with overrides of single fields as `--config.data.root=DIR`."""
    return config_flags.DEFINE_config_file(
        "config",
        None,
        "A file of configs/; change a field with --config.SECTION.FIELD=VALUE.",
        lock_config=False,
    )


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls `main`; a UserError ends the program with its line and exit status 1."""
    app.run(lambda _: _guarded(main), flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold(logging.INFO)
    # Libraries tell at length what goes on inside; a user wants our lines, and the libraries' warnings.
    logging.get_absl_logger().addFilter(
        lambda record: record.levelname in ("WARNING", "ERROR") or record.pathname.startswith(_OURS)
    )
    try:
        rest = flags.FLAGS(list(argv))
    except KeyError as error:
        _fail(_unknown_field(argv, error))
    except flags.Error as error:
        _fail(f"{error} (see --help)")
    except OSError as error:
        _fail(f"--config: {error}")
    if len(rest) > 1:
        _fail(f"unexpected argument {rest[1]!r}; flags are written --name=value (see --help)")
    return rest


def _unknown_field(argv: Sequence[str], error: KeyError) -> str:
    """Names the override that no config field answers to, and the nearest field that there is."""
    known = [f"config.{field}" for field in _fields(Config())]
    for argument in argv[1:]:
        name = argument.lstrip("-").split("=")[0]
        if name.startswith("config.") and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            return f"--{name}: there is no such config field; did you mean --{near}?"
    return f"--config: {error}"


def _fields(section: object, prefix: str = "") -> list[str]:
    names = []
    for name in section.__slots__:  # type: ignore[attr-defined]
        value = getattr(section, name)
        names += _fields(value, f"{prefix}{name}.") if hasattr(value, "__slots__") else [prefix + name]
    return names


def _guarded(main: Callable[[], None]) -> None:
    try:
        main()
    except UserError as error:
        _fail(str(error))


def _fail(line: str) -> None:
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(1)
