"""What a module of `export/formats` gives."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.program import Options


class Format(NamedTuple):
    """An entry of `registry.EXPORTS`, by the suffix of its files."""

    # Writes an artifact's program to a path in one of the precisions, atomically. The number is the batch
    # size, 0 for any.
    save: Callable[[Artifact, Path, Options, str, int], None]
    precisions: tuple[str, ...] = ("fp32",)
