"""The checkout around the package: results, and programs that are not installed."""

from pathlib import Path

from mamkpd_jax.errors import UserError

_ROOT = Path(__file__).resolve().parents[2]


def results() -> Path:
    """The folder of result files; raises UserError if the package is installed without its repository."""
    folder = _ROOT / "benchmarks" / "results"
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: this bench needs the repository; install it there with pip install -e .")
    return folder


def root() -> Path:
    """The repository's folder; raises UserError as `results`."""
    return results().parents[1]
