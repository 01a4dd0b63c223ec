"""Reads artifacts by name, address or path."""

from pathlib import Path

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.named import find
from mamkpd_jax.artifact.weight_files import SUFFIXES, load
from mamkpd_jax.errors import UserError

EXPORTED = ".onnx"  # the suffix of files that `Predictor` runs, and that have no weights to read


def read_artifact(source: str | Path, *, best: bool = False, ema: bool = True) -> Artifact:
    """The artifact for a model's name, an address hf://OWNER/NAME, a run directory or a weights file.

    Args:
        best, ema: as in `read_checkpoint`, for a run directory only.

    Raises:
        UserError: as in `find_model`, or the weights can't be read.
    """
    path = find_model(source, best=best, ema=ema)
    if path.is_dir():
        from mamkpd_jax.artifact.checkpoints import read_checkpoint  # orbax takes 0.2 s

        return read_checkpoint(path, best=best, ema=ema)
    return load(path)


def find_model(source: str | Path, *, best: bool = False, ema: bool = True, exported: bool = False) -> Path:
    """The file or run directory that `find` returns, with its suffix checked.

    Args:
        best, ema: as in `read_checkpoint`, for a run directory only.
        exported: also accept exported files.

    Raises:
        UserError: as in `find`, a file has another suffix, or `best` or `ema` is given for a file.
    """
    path = find(source)
    if path.is_dir():
        return path
    check_suffix(path, (*SUFFIXES, EXPORTED) if exported else SUFFIXES)
    if best or not ema:
        flag = "best" if best else "noema"
        raise UserError(f"{source} is not the folder of a training run; leave out --{flag}, which only runs take")
    return path


def check_suffix(file: Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Raises UserError if a file has none of the suffixes."""
    if file.suffix in suffixes:
        return
    if file.suffix == EXPORTED:
        raise UserError(
            f"{file} is an exported file, which only `mamkpd predict`, `mamkpd serve` and `Predictor` take; give the "
            f"folder of a training run, or one of {', '.join(suffixes)}"
        )
    raise UserError(f"{file} is neither the folder of a training run nor one of {', '.join(suffixes)}")
