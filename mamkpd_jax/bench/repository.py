"""The repository that contains the package: result files, and programs that are not installed."""

from pathlib import Path

from mamkpd_jax.errors import UserError

_ROOT = Path(__file__).resolve().parents[2]


def results() -> Path:
    """The folder of result files.

    Raises:
        UserError: the package is installed without its repository.
    """
    folder = _ROOT / "benchmarks" / "results"
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; this benchmark needs the repository: run pip install -e . in a clone")
    return folder


def root() -> Path:
    """The repository's folder.

    Raises:
        UserError: the package is installed without its repository.
    """
    return results().parents[1]
