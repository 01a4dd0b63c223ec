"""Times start-up and latency of prediction with the flip test, in JAX and from an exported ONNX file.

mamkpd bench start --variants=base --output=benchmarks/results/start.json

Start-up is the time of a whole run of `mamkpd predict` on one picture. Four kinds of runs take turns: in JAX with an
empty compilation cache, in JAX with a filled one, and from the file in each runtime. Latency is that of `Predictor` for
one person in a JPEG. Weights are random.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from mamkpd_jax.artifact.checkpoints import write_checkpoint
from mamkpd_jax.bench import measure
from mamkpd_jax.bench.people import items
from mamkpd_jax.bench.weights import random_weights
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.program import Options

_VARIANTS = measure.define_variants(["base"])
_STARTS = flags.DEFINE_integer("starts", 5, "Number of timed runs of each kind.", lower_bound=2, allow_override=True)

JAX, ONNX, OPENVINO = "JAX", "ONNX Runtime", "OpenVINO"
Times = dict[tuple[str, str], list[float]]  # milliseconds by engine and part


def start_s(checkpoint: Path, picture: Path, cache: Path, *options: str) -> float:
    """Seconds of one run of `mamkpd predict` with the flags `options`."""
    command = [sys.executable, "-m", "mamkpd_jax", "predict", "--boxes=whole", f"--compilation_cache={cache}"]
    command += ["--flip_test", f"--checkpoint={checkpoint}", f"--input={picture}", *options]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as output:
        subprocess.run([*command, f"--output={output}"], check=True, capture_output=True)
    return time.perf_counter() - start


def starts(run: Path, exported: Path, picture: Path, n: int) -> Times:
    """Times of whole runs, `n` of each kind, in turn."""
    kinds = {
        (JAX, "first start"): (run,),
        (JAX, "second start"): (run,),
        (ONNX, "start"): (exported,),
        (OPENVINO, "start"): (exported, "--runtime=openvino"),
    }
    times: Times = {kind: [] for kind in kinds}
    for _ in range(n):
        with tempfile.TemporaryDirectory() as cache:
            for kind, (checkpoint, *options) in kinds.items():
                times[kind].append(1e3 * start_s(checkpoint, picture, Path(cache), *options))
    return times


def calls(run: Path, exported: Path, picture: Path, repeats: int) -> Times:
    """Times of calls of `Predictor` for one person in a picture, by engine."""
    engines = {
        JAX: Predictor.from_pretrained(run, flip_test=True),
        ONNX: Predictor.from_pretrained(exported),
        OPENVINO: Predictor.from_pretrained(exported, runtime="openvino"),
    }
    times = measure.times_ms(
        {
            name: lambda _, predictor=predictor: predictor(picture, "whole")[0].keypoints
            for name, predictor in engines.items()
        },
        repeats,
    )
    return {(engine, "one person"): row for engine, row in times.items()}


def main() -> None:
    from mamkpd_jax.export.formats import onnx  # needs torch

    rows, lines = [], measure.Lines("model", "engine", "part", "median_ms")
    for name in _VARIANTS.value:
        with tempfile.TemporaryDirectory() as folder:
            run, exported, picture = (Path(folder) / file for file in ("run", "model.onnx", "picture.jpg"))
            picture.write_bytes(items()[0]["image"])
            write_checkpoint(random_weights(name), run)
            onnx.save(random_weights(name), exported, Options())
            times = starts(run, exported, picture, _STARTS.value)
            times |= calls(run, exported, picture, measure.REPEATS.value)
        for (engine, part), row in times.items():
            rows.append({"model": name, "engine": engine, "part": part, **measure.summary_ms(row)})
            lines.print(rows[-1])
    measure.write(rows)
