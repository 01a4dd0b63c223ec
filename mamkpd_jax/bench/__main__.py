"""python -m mamkpd_jax.bench NAME --output=FILE.json: times a part on the device at hand; `table` shows a result."""

import importlib
import sys

from mamkpd_jax import cli

# Each module has a `main` and flags of its own, so only the chosen one is imported.
BENCHES = {
    "accuracy": "mamkpd_jax.bench.accuracy",
    "export": "mamkpd_jax.bench.export",
    "layers": "mamkpd_jax.bench.layers",
    "model": "mamkpd_jax.bench.model",
    "pipeline": "mamkpd_jax.bench.pipeline",
    "predict": "mamkpd_jax.bench.predict",
    "program_cost": "mamkpd_jax.bench.program_cost",
    "scan": "mamkpd_jax.bench.scan",
    "start": "mamkpd_jax.bench.start",
    "table": "mamkpd_jax.bench.table",
    "train": "mamkpd_jax.bench.train",
}


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in BENCHES:
        sys.exit(f"error: {name!r} is no bench; expected python -m mamkpd_jax.bench {'|'.join(BENCHES)} [--helpfull]")
    bench = importlib.import_module(BENCHES[name])
    del sys.argv[1]
    cli.run(bench.main)


if __name__ == "__main__":
    main()
