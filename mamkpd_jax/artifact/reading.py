"""Artifacts from wherever they are."""

from pathlib import Path

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.named import find
from mamkpd_jax.artifact.weight_files import SUFFIXES, load
from mamkpd_jax.errors import UserError

EXPORTED = ".onnx"  # the suffix of files that `Predictor` runs, and that have no weights to read


def read_artifact(source: str | Path, *, best: bool = False, ema: bool = True) -> Artifact:
    """The artifact of a named model, of an address hf://OWNER/NAME, of a training run's folder or of a file.

    Args:
        best: of a folder, as `read_checkpoint` takes it; `ema` too.

    Raises:
        UserError: as `find_model`, or there are no weights.
    """
    path = find_model(source, best=best, ema=ema)
    if path.is_dir():
        from mamkpd_jax.artifact.checkpoints import read_checkpoint  # orbax takes 0.2 s

        return read_checkpoint(path, best=best, ema=ema)
    return load(path)


def find_model(source: str | Path, *, best: bool = False, ema: bool = True, exported: bool = False) -> Path:
    """The file or the run's folder of a model, as `find`.

    Args:
        exported: whether an exported file will do.

    Raises:
        UserError: nothing is there, a file has another suffix, or `best` or `ema` chooses among those of a file.
    """
    path = find(source)
    if path.is_dir():
        return path
    check_suffix(path, (*SUFFIXES, EXPORTED) if exported else SUFFIXES)
    if best or not ema:
        flag = "best" if best else "noema"
        raise UserError(f"{source} is not the folder of a training run; leave out --{flag}, which is for runs alone")
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
