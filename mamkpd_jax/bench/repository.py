"""The checkout around the package: where results are, and programs that are not installed."""

from pathlib import Path

from mamkpd_jax.errors import UserError

_ROOT = Path(__file__).resolve().parents[2]


def root() -> Path:
    """The repository's folder.

    Raises:
        UserError: the package is installed without its repository.
    """
    if not (_ROOT / "benchmarks").is_dir():
        raise UserError(f"{_ROOT} has no folder benchmarks/; this bench needs the repository: install it with pip -e")
    return _ROOT


def results() -> Path:
    """The folder of result files; raises UserError as `root`."""
    return root() / "benchmarks" / "results"
