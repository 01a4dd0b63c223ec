"""Starts the command-line programs: shared flags, logging, and error messages of one line."""

import contextlib
import copy
import difflib
import errno
import gc
import logging
import math
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from ml_collections.config_flags import config_flags
from tqdm import tqdm

from mamkpd_jax.config import Config, fields
from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import Registry

flags.disclaim_key_flags()  # --help of a program lists the flags that it defines with functions of this module
_PACKAGE = Path(__file__).parent
# mamkpd_jax/configs is a symbolic link to configs/. A checkout without symbolic links has only the latter.
_CONFIGS = next(filter(Path.is_dir, (_PACKAGE / "configs", _PACKAGE.parent / "configs")), _PACKAGE / "configs")
# What to do about an output that can't be written.
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free space or give another folder"),
    **dict.fromkeys((errno.EROFS, errno.EACCES), "give a folder that you may write to"),
    errno.EISDIR: "give the name of a file",
    errno.ENAMETOOLONG: "shorten it",
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "a file is where a folder should be: give another folder"),
}
# The extra of pyproject.toml that installs each module.
_EXTRAS = {
    **dict.fromkeys(("onnx", "onnxruntime"), "onnx"),
    **dict.fromkeys(("anyio", "fastapi", "h11", "prometheus_client", "pydantic", "starlette", "uvicorn"), "serve"),
    "huggingface_hub": "hub",
    "openvino": "openvino",
    "torch": "torch",
    "matplotlib": "plots",
}
_EXAMPLE = "a config's name or file, such as --config=quickstart or --config=configs/quickstart.py"


def define_config(default: Callable[[], Config | None] = lambda: None) -> flags.FlagHolder[Config]:
    """Defines the flag `--config=NAME|FILE`, and flags such as `--config.data.root=DIR` that override its fields.

    Args:
        default: called without arguments if --config is missing, after all other flags are parsed. Returns the config
            to use, or None if the flag is required.
    """
    config = config_flags.DEFINE_config_file(
        "config",
        None,
        f"One of {', '.join(_config_names())}, or the path of a file. Change a field with "
        f"--config.SECTION.FIELD=VALUE. Fields: {', '.join(fields(Config()))}; mamkpd_jax/config.py explains them.",
        lock_config=False,
        allow_override=True,  # tests import several programs into one process
    )
    flags.FLAGS["config"].parser = _ConfigParser(default)
    # ml_collections reports an unreadable file only when a field is first read, as hasattr does here.
    flags.register_validator("config", lambda config: hasattr(config, "model"), message=f"give {_EXAMPLE}")
    return config


class _ConfigParser(config_flags.ConfigFileFlagParser):
    def __init__(self, default: Callable[[], Config | None]):
        super().__init__(name="config", lock_config=False)
        self.default = default

    def parse(self, path: str | Config) -> Any:
        if isinstance(path, Config):
            return copy.deepcopy(path)  # the overrides change its fields
        name, colon, argument = path.partition(":")
        if name.isidentifier():  # a path has a suffix
            if name not in _config_names():
                raise UserError(
                    f"--config={name}: there is no config of this name; expected one of {', '.join(_config_names())}, "
                    "or the path of a file"
                )
            path = f"{_CONFIGS / name}.py{colon}{argument}"
        return super().parse(path)


def _config_names() -> list[str]:
    return sorted(path.stem for path in _CONFIGS.glob("*.py"))


def define_checkpoint(default: str | None = None, *, exported: bool = False) -> flags.FlagHolder[str]:
    """Defines the flag `--checkpoint=NAME|DIR|FILE`, a trained model; it is required if there is no default.

    Args:
        exported: whether the program accepts exported .onnx files too.
    """
    text = (
        "A trained model: a name that `mamkpd models` lists, hf://OWNER/NAME, a run directory, or a .safetensors, .pth "
        f"or .pt file{', or an .onnx file of `mamkpd export`' if exported else ''}."
    )
    flag: Any = flags.DEFINE_string("checkpoint", default, text, required=default is None, allow_override=True)
    return flag  # has a default or is required, so never None


def define_runtime() -> flags.FlagHolder[str | None]:
    """Defines the flag `--runtime=onnxruntime|openvino`, which chooses the runtime of exported files."""
    text = "The runtime of an .onnx file: onnxruntime (default), or openvino: faster on CPUs, but slower to start."
    return flags.DEFINE_string("runtime", None, text, allow_override=True)


def define_weights_choice() -> tuple[flags.FlagHolder[bool], flags.FlagHolder[bool]]:
    """Defines the flags `--best` and `--ema`, which choose the weights of a run directory."""
    best = "From a run directory, take the checkpoint with the best evaluation so far, not the newest."
    ema = "From a run directory, take the moving average of the parameters, if the run has one."
    return (
        flags.DEFINE_bool("best", False, best, allow_override=True),
        flags.DEFINE_bool("ema", True, ema, allow_override=True),
    )


def define_exif() -> flags.FlagHolder[str]:
    """Defines the flag `--exif=upright|stored`, for commands that read labels without a config."""
    text = "Whether to apply the EXIF rotation (upright) or not (stored) to images whose labelled size fits both ways."
    return flags.DEFINE_enum("exif", "upright", ["upright", "stored"], text, allow_override=True)


class _WholeNumbers(flags.ArgumentParser[list[int]]):
    syntactic_help = "comma-separated whole numbers"

    def __init__(self, least: int):
        self._least = least

    def parse(self, argument: str | list[int]) -> list[int]:
        if isinstance(argument, list):
            return argument
        numbers = argument.split(",")
        if not all(number.isdecimal() and int(number) >= self._least for number in numbers):
            raise ValueError(f"expected comma-separated whole numbers of at least {self._least}, such as 1,2,8")
        return [int(number) for number in numbers]


def define_whole_numbers(name: str, default: list[int], text: str, *, least: int = 1) -> flags.FlagHolder[list[int]]:
    """Defines a flag `--NAME=1,2,8`: a list of whole numbers, each at least `least`."""
    serializer: Any = flags.ListSerializer(",")  # declared for strings, but accepts numbers
    return flags.DEFINE(_WholeNumbers(least), name, default, text, serializer=serializer, allow_override=True)


class Choice:
    """A program whose first argument names the program to run; "-" may replace "_".

    Args:
        kind: the noun for such a program in messages, such as "command".
        programs: functions for `run`, or further choices, by name.
        text: returns the text for --help, which is also printed if there is no argument.
    """

    def __init__(self, kind: str, programs: Mapping[str, Any] | Registry, text: Callable[[], str]):
        self._kind, self._programs, self._text = kind, programs, text

    def take(self) -> Any:
        """Removes the name from sys.argv and returns its program."""
        if len(sys.argv) == 1 or sys.argv[1] in ("-h", "--help"):
            print(self._text())
            sys.exit()
        typed = sys.argv.pop(1)
        known = {name.replace("_", "-"): name for name in self._programs}
        name = typed.replace("_", "-")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? (--help lists all)" if near else f"expected one of {', '.join(known)}"
            _fail(f"there is no {self._kind} {typed!r}; {hint}")
        return self._programs[known[name]]


def run(main: Callable[[], None] | Choice) -> None:
    """Parses the flags and calls `main`.

    A wrong flag, a `UserError`, a missing extra or device, too little memory or an unwritable output prints one line
    and exits with status 1. Ctrl-C prints one line, or nothing during the imports, and exits with status 130.
    """
    try:
        _run(main)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _run(main: Callable[[], None] | Choice) -> None:
    # Until the program is imported, Ctrl-C ends the process at once: JAX's imports discard some KeyboardInterrupts.
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        main = _imported(main)
    finally:
        signal.signal(signal.SIGINT, handler)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]  # for file names in any script
    # The --help of absl shows the docstring and the flags of the started script.
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    for flag in flags.FLAGS.get_key_flags_for_module(main.__module__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    if "--help" in sys.argv[1:]:
        app.usage(shorthelp=True, writeto_stdout=True, exitcode=0)  # absl itself exits with status 1
    app.run(lambda _: _guarded(main), flags_parser=_parse)


def _imported(main: Callable[[], None] | Choice) -> Callable[[], None]:
    """The function of the chosen program.

    The garbage collector leaves out the imported objects, which are no garbage: to search them would take a quarter of
    the time of `mamkpd predict` with a photo.
    """
    if not isinstance(main, Choice):
        return main
    gc.disable()
    while isinstance(main, Choice):
        main = main.take()
    gc.freeze()
    gc.enable()
    return main


def _parse(argv: Sequence[str]) -> list[str]:
    _log_to_stderr()
    try:
        _guarded(lambda: _set_default_config(argv))
        rest = flags.FLAGS(list(argv))
    except KeyError as error:
        _fail(_unknown_field(argv, error))
    except flags.Error as error:
        # ml_collections puts a whole traceback into its message; its last line is the reason.
        lines = str(error).splitlines()
        reason = lines[-1] if "Traceback" in str(error) else "; ".join(lines)
        missing = re.sub(r"flag --(\S+)=None: .* must have a value other than None\.", r"--\1 is missing", reason)
        _fail(f"{missing} (see --help)")
    except OSError as error:
        _fail(f"--config: {str(error).splitlines()[-1].strip()}; give {_EXAMPLE}")
    except UserError as error:
        _fail(str(error))
    for name, value in flags.FLAGS.flag_values_dict().items():
        is_number = isinstance(value, float) and not name.startswith("config.")  # Config checks its fields
        if is_number and not math.isfinite(value):  # the bounds of flags let them through
            _fail(f"flag --{name}={value}: give a finite number")
    if len(rest) > 1:
        _fail(f"unexpected argument {rest[1]!r}; flags are written --name=value (see --help)")
    return rest


def _set_default_config(argv: Sequence[str]) -> None:
    """Sets the program's default config if --config is missing, so that overrides of its fields are known flags."""
    if "config" not in flags.FLAGS or any(re.match("--?config(=|$)", argument) for argument in argv):
        return
    flags.FLAGS.set_gnu_getopt()  # else parsing stops at the value of an override without "="
    with contextlib.suppress(flags.Error):  # the full parse raises it again
        flags.FLAGS(list(argv), known_only=True)
    parser: Any = flags.FLAGS["config"].parser
    if flags.FLAGS.is_parsed() and (config := parser.default()) is not None:
        flags.FLAGS.set_default("config", config)


class _AboveProgressBar(logging.Handler):
    """Writes a line above the progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def _log_to_stderr() -> None:
    """Logs this package's records and the libraries' warnings to stderr; third-party INFO logs are noisy."""
    handler = _AboveProgressBar()
    handler.setFormatter(logging.Formatter("{asctime} {levelname:.1} {message}", "%H:%M:%S", style="{"))
    handler.addFilter(_is_logged)
    logging.root.handlers = [handler]
    logging.getLogger("absl").setLevel(logging.INFO)


def _is_logged(record: logging.LogRecord) -> bool:
    """Whether a record is logged: all of this package's, and warnings of libraries other than asyncio.

    Removes the traceback from a library's warning: a fatal failure raises an exception anyway.
    """
    ours = _is_ours(Path(record.pathname))
    if not ours:
        record.exc_info = None
    return ours or (record.levelno >= logging.WARNING and record.name != "asyncio")


def _is_ours(path: Path) -> bool:
    """Whether a module is in this package or in the folder of the started script."""
    return path.is_relative_to(_PACKAGE) or path.parent == Path(sys.argv[0]).resolve().parent


def _unknown_field(argv: Sequence[str], error: KeyError) -> str:
    """The error message for an override of an unknown config field, with the nearest known field."""
    known = [f"config.{field}" for field in fields(Config())]
    for argument in argv[1:]:
        name = argument.lstrip("-").split("=")[0]
        if name.startswith("config.") and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            return f"--{name}: there is no such config field; did you mean --{near}?"
    return f"--config: {error}"


def _guarded(main: Callable[[], None]) -> None:
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _fail(f"{error}; install it with: pip install '.[{extra}]' in the repository")
    except (MemoryError, RuntimeError) as error:
        text = str(error).partition("\n")[0]
        if isinstance(error, MemoryError) or text.startswith("RESOURCE_EXHAUSTED"):
            _fail(f"not enough memory ({text}); lower the batch size, or see Out of memory in docs/troubleshooting.md")
        if not text.startswith("Unable to initialize backend"):
            raise
        _fail(f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: {text}")
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_has_left():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes its buffer at exit
            sys.exit(128 + signal.SIGPIPE)
        if error.errno not in _REMEDIES:
            raise
        # os.replace reports the temporary file first, and second the file that it would have replaced.
        name = error.filename2 or error.filename or "a file"
        _fail(f"{name} can't be written ({error.strerror}); {_REMEDIES[error.errno]}")


def _reader_has_left() -> bool:
    """Whether standard output is a pipe whose reader has exited, as in `| head`."""
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(sys.stdout, 0)  # poll always reports errors
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _fail(line: str) -> None:
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(1)
