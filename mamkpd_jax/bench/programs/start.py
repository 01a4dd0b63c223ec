"""Time of whole runs of `predict` on one image: in each round with a new compilation cache, then with the filled one.

mamkpd bench start --variants=base --output=benchmarks/results/start.json
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mamkpd_jax.artifact.checkpoints import write_checkpoint
from mamkpd_jax.bench import measure
from mamkpd_jax.bench.people import items
from mamkpd_jax.bench.weights import random_weights

_VARIANTS = measure.define_variants(["base"])


def start_s(folder: Path, cache: Path) -> float:
    """Seconds of one run, for the image and the checkpoint in `folder`."""
    command = [sys.executable, "-m", "mamkpd_jax", "predict", "--boxes=whole", f"--compilation_cache={cache}"]
    command += ["--flip_test", f"--checkpoint={folder / 'run'}", f"--input={folder / 'picture.jpg'}"]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as output:
        subprocess.run([*command, f"--output={output}"], check=True, capture_output=True)
    return time.perf_counter() - start


def rounds(folder: Path, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each first and each second start."""
    times: dict[str, list[float]] = {"first start": [], "second start": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for row in times.values():
                row.append(1e3 * start_s(folder, Path(cache)))
    return times


def main() -> None:
    rows, lines = [], measure.Lines("model", "part", "median_ms")
    for name in _VARIANTS.value:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "picture.jpg").write_bytes(items()[0]["image"])
            write_checkpoint(random_weights(name), Path(folder) / "run")
            times = rounds(Path(folder), measure.REPEATS.value)
        for part, row in times.items():
            rows.append({"model": name, "part": part, **measure.summary_ms(row)})
            lines.print(rows[-1])
    measure.write(rows)
