"""Times prediction from a JPEG and a box to a pose, with its parts, and measures its memory over many files.

mamkpd bench predict --checkpoint=runs/quickstart --variants=base --output=benchmarks/results/predict.json

Latency is for one procedural person at a time in images of 640x480. The many files have mixed sizes up to --longest_px
and 0 to 12 boxes each; the first tenth is the warm-up. Variants have random weights.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import jax
import numpy as np
from absl import flags

from mamkpd_jax.bench import measure
from mamkpd_jax.bench.people import items
from mamkpd_jax.bench.weights import random_weights
from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.environment import process_peak_bytes
from mamkpd_jax.errors import UserError
from mamkpd_jax.heads._head import head_of
from mamkpd_jax.inference.predictor import Predictor

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run directory or weights file to time before the variants.")
_MANY = flags.DEFINE_integer("many", 1000, "Number of files of mixed sizes, for the first model.", lower_bound=10)
_LONGEST_PX = flags.DEFINE_integer("longest_px", 2000, "Longest side of those files in pixels.", lower_bound=64)
_VARIANTS = measure.define_variants(["base"])

_WHOLE = "file to pose"


def _predictors(flip_test: bool) -> Iterator[tuple[str, Predictor]]:
    if _CHECKPOINT.value is not None:
        yield _CHECKPOINT.value, Predictor.from_pretrained(_CHECKPOINT.value, flip_test=flip_test)
    for name in _VARIANTS.value:
        yield name, Predictor(random_weights(name), flip_test=flip_test)


def parts_ms(predictor: Predictor, people: list[tuple[Path, np.ndarray]], repeats: int) -> dict[str, list[float]]:
    """Times in milliseconds of whole predictions and of their parts, over people (a JPEG and a box) in turn."""
    pictures = [path.read_bytes() for path, _ in people]
    pixels = [decode_image(data) for data in pictures]
    crops = [predictor.crops(image, box[None]).images for image, (_, box) in zip(pixels, people, strict=True)]
    heatmaps = [jax.block_until_ready(predictor.network(crop)) for crop in crops]
    decode_heatmaps = jax.jit(head_of(predictor.config, predictor.skeleton).decode)
    n = len(people)
    return measure.times_ms(
        {
            _WHOLE: lambda i: predictor(people[i % n][0], people[i % n][1][None])[0].keypoints,
            "decode the image": lambda i: decode_image(pictures[i % n]),
            "crop": lambda i: predictor.crops(pixels[i % n], people[i % n][1][None]),
            "network": lambda i: predictor.network(crops[i % n]),
            "decode the heatmaps": lambda i: decode_heatmaps(heatmaps[i % n]),
        },
        repeats,
    )


def many_files(predictor: Predictor, scene: np.ndarray, folder: Path) -> dict[str, dict[str, float]]:
    """Throughput, compilations and the process's peak memory over a tenth of the files, then over all of them.

    Args:
        scene: the picture whose resized copies are the files.
        folder: where the files are written.
    """
    rng = np.random.default_rng(0)
    stream = []
    for i in range(_MANY.value):
        width, height = rng.integers(48, _LONGEST_PX.value + 1, 2)
        path = folder / f"many{i}.jpg"
        cv2.imwrite(str(path), cv2.resize(scene, (int(width), int(height))))
        corners = rng.uniform(0, 0.8, (rng.integers(0, 13), 2)) * [width, height]
        stream.append((path, np.column_stack([corners, rng.uniform(0.1, 0.5, corners.shape) * [width, height]])))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, duration_secs, **_: compiled.append(event))
    values = {}
    for name, part in (("warm_up", stream[: _MANY.value // 10]), ("all", stream)):
        compiled.clear()
        start, poses = time.perf_counter(), 0
        for result in predictor.stream(part):
            assert not isinstance(result, UserError), result
            poses += len(result)
        values[name] = {
            "files": len(part),
            "poses": poses,
            "files_per_s": len(part) / (time.perf_counter() - start),
            "compilations": sum("backend_compile" in event for event in compiled),
            "peak_memory_mib": process_peak_bytes() / 2**20,
        }
    return values


def main() -> None:
    rows, lines = [], measure.Lines("model", "flip_test", "part", "median_ms", "p95_ms", "share_of_parts")
    with tempfile.TemporaryDirectory() as folder:
        people = []
        for i, item in enumerate(items()):
            path = Path(folder) / f"{i}.jpg"
            path.write_bytes(item["image"])
            people.append((path, item["bbox"]))
        for flip_test in (False, True):
            for name, predictor in _predictors(flip_test):
                all_ms = parts_ms(predictor, people, measure.REPEATS.value)
                times = {part: measure.summary_ms(row) for part, row in all_ms.items()}
                total = sum(row["median_ms"] for part, row in times.items() if part != _WHOLE)
                for part, row in times.items():
                    share = {} if part == _WHOLE else {"share_of_parts": row["median_ms"] / total}
                    rows.append({"model": name, "flip_test": flip_test, "part": part, **row, **share})
                    lines.print(rows[-1])
        name, predictor = next(_predictors(flip_test=False))
        memory = many_files(predictor, decode_image(people[0][0].read_bytes()), Path(folder))
    for part, values in memory.items():
        print(f"{part:8}" + ", ".join(f"{key} {value:.0f}" for key, value in values.items()))
    measure.write(rows, many={"model": name, **memory})
