"""Caches the programs that XLA compiles in a folder, so that later starts don't compile them again."""

from pathlib import Path

import filelock
import jax
import platformdirs
from absl import flags, logging

from mamkpd_jax.errors import UserError

flags.disclaim_key_flags()  # --help of the program that defines the flag lists it
_OFF = "off"
_MAX_BYTES = 2 * 2**30
_LOCK_TIMEOUT_S = 10
_LEAST_COMPILE_S = 0.1


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
    """Applies the flag's value to JAX. If the default folder can't be written, logs a warning and caches nothing.

    Raises:
        UserError: the folder that `value` names can't be written.
    """
    if value == _OFF:
        jax.config.update("jax_enable_compilation_cache", False)
    elif value or not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        # A subfolder, because `use` would delete entries that JAX itself has written to the named folder.
        folder = Path(value) / "mamkpd_jax" if value else platformdirs.user_cache_path("mamkpd_jax") / "compiled"
        try:
            use(folder)
        except OSError as error:
            problem = f"{folder} can't be written ({error.strerror or error})"
            if value:
                raise UserError(f"--compilation_cache: {problem}; give another folder, or {_OFF}") from error
            logging.warning("%s: everything is compiled again at each start; see --compilation_cache", problem)


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
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_COMPILE_S)
