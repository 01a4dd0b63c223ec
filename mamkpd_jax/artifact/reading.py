"""Artifacts from wherever they are."""

from pathlib import Path

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.named import find
from mamkpd_jax.artifact.weight_files import SUFFIXES, load
from mamkpd_jax.errors import UserError


def read_artifact(source: str | Path, *, best: bool = False, ema: bool = True) -> Artifact:
    """The artifact of a named model, of an address hf://OWNER/NAME, of a training run's folder or of a file.

    Args:
        best: of a folder, as `read_checkpoint` takes it; `ema` too.

    Raises:
        UserError: there are no weights, or `best` or `ema` chooses among those of a file.
    """
    path = find(source)
    if path.is_dir():
        from mamkpd_jax.artifact.checkpoints import read_checkpoint  # orbax takes 0.2 s

        return read_checkpoint(path, best=best, ema=ema)
    if best or not ema:
        flag = "best" if best else "noema"
        raise UserError(f"{source} is not the folder of a training run; leave out --{flag}, which is for runs alone")
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} is neither the folder of a training run nor one of {', '.join(SUFFIXES)}")
    return load(path)
