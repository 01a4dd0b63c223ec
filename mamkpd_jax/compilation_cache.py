"""Caches the programs that XLA compiles in a folder, so that later starts don't compile them again."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import jax
import platformdirs
from absl import flags, logging
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from mamkpd_jax.errors import UserError

flags.disclaim_key_flags()  # --help of the program that defines the flag lists it
_OFF = "off"
_MAX_BYTES = 2 * 2**30
_LOCK_TIMEOUT_S = 10
_LEAST_COMPILE_S = 0.1
_SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


def define_flag() -> flags.FlagHolder[str | None]:
    """Defines the flag `--compilation_cache=DIR|off`."""
    text = (
        "Folder for compiled programs, which later starts load. They are in its subfolder mamkpd_jax, at most 2 GiB; "
        f"the least recently used are deleted first. '{_OFF}' compiles at each start. Default: "
        "JAX_COMPILATION_CACHE_DIR as JAX uses it, else the user's cache folder."
    )
    # Tests import several programs into one process.
    return flags.DEFINE_string("compilation_cache", None, text, allow_override=True)


def enable(value: str | None) -> None:
    """Applies the flag's value to JAX. If the default folder can't be written, warns once and caches nothing.

    Raises:
        UserError: the folder that `value` names can't be written.
    """
    if value == _OFF:
        jax.config.update("jax_enable_compilation_cache", False)
    elif value:
        folder = Path(value) / "mamkpd_jax"  # a subfolder, because `use` would delete entries of JAX itself
        try:
            use(folder)
        except OSError as error:
            problem = f"{folder} can't be written ({error.strerror or error})"
            raise UserError(f"--compilation_cache: {problem}; give another folder, or {_OFF}") from error
    elif not _chosen():
        _use_default()


@contextlib.contextmanager
def default() -> Iterator[None]:
    """Caches what the block compiles in the default folder, unless JAX has a folder or its cache is off.

    Other programs of the process are not cached, because JAX's settings return to their former values at the end.
    """
    if _chosen():
        yield
        return
    before = {name: getattr(jax.config, name) for name in _SETTINGS}
    _use_default()
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        jax_cache.reset_cache()


def _chosen() -> bool:
    """Whether the user or the program has chosen a folder, or to cache nothing."""
    config: Any = jax.config
    return bool(config.jax_compilation_cache_dir) or not config.jax_enable_compilation_cache


def _use_default() -> None:
    folder = platformdirs.user_cache_path("mamkpd_jax") / "compiled"
    try:
        use(folder)
    except OSError as error:
        _warn(f"{folder} can't be written ({error.strerror or error})")


@functools.cache  # once
def _warn(problem: str) -> None:
    logging.warning(
        "%s: everything is compiled again at each start; choose another folder by --compilation_cache or "
        "JAX_COMPILATION_CACHE_DIR",
        problem,
    )


def use(folder: Path) -> None:
    """Makes JAX cache compiled programs in `folder`, which several processes may share.

    Deletes incomplete entries, so only this module may write to the folder.

    Raises:
        OSError: the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lockfile", timeout=_LOCK_TIMEOUT_S):  # the lock that JAX takes
        for entry in folder.glob("*-cache"):
            # JAX writes the access time last. An entry without one may be truncated, and makes every later write fail.
            if not entry.with_name(f"{entry.name.removesuffix('-cache')}-atime").exists():
                entry.unlink()
    for name, value in zip(_SETTINGS, (str(folder), _MAX_BYTES, _LEAST_COMPILE_S), strict=True):
        jax.config.update(name, value)
