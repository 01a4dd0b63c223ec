"""Compiles a model for a GPU without one and counts kernels, bytes moved and scratch memory.

mamkpd bench program_cost --variants=base --batches=1,64 --output=benchmarks/program_cost.json

Needs the extra `kernel-report`. The GPU is an H200, the dtype bfloat16, the scan the Pallas kernels. `forward` computes
heatmaps from uint8 crops; `gradients` is the loss and its gradients, without the optimizer. Bytes are counted as if
there were no cache; at the bandwidth of a large copy they bound the speed.
"""

import collections
import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.bench import described_gpu, hlo, measure
from mamkpd_jax.bench.weights import INPUT_HW, config_of
from mamkpd_jax.model.mamkpd import abstract, split, variant
from mamkpd_jax.program import Options, cast_once, make_program
from mamkpd_jax.skeletons import COCO
from mamkpd_jax.training.step import make_loss

PROGRAMS = "forward", "gradients"

_VARIANTS = measure.define_variants(["small", "base", "large"])
_BATCHES = cli.define_whole_numbers("batches", [1, 64], "Batch sizes.")
_PROGRAMS = flags.DEFINE_multi_enum("programs", PROGRAMS, PROGRAMS, "The programs to compile.")
_TOP = flags.DEFINE_integer("top", 0, "Number of kernels to print, those that move the most bytes.", lower_bound=0)
_HLO = flags.DEFINE_string("hlo", None, "Folder for the HLO text of each program.")

_COPY_BANDWIDTH = 4.3e12  # bytes read and written per second by a large copy, measured on an H200


def row(name: str, program: str, batch: int) -> tuple[dict[str, Any], str]:
    """The cost of a variant's program, and its HLO text.

    Raises:
        UserError: the extra `kernel-report` is not installed.
    """
    with described_gpu.kernels_can_run():
        compiled = described_gpu.program(*_function(name, program, batch), described_gpu.H200)
    text, memory = str(compiled.as_text()), compiled.memory_analysis()
    assert memory is not None  # compilers for GPUs report it
    kernels = hlo.kernels(text)
    moved = sum(kernel.moved_bytes for kernel in kernels) / batch
    cost = {
        "kernels": len(kernels),
        "mb_per_crop": moved / 1e6,
        "crops_per_s_bound": _COPY_BANDWIDTH / moved,
        "scratch_mib": memory.temp_size_in_bytes / 2**20,
    }
    return {"variant": name, "program": program, "batch": batch} | cost, text


def _function(name: str, program: str, batch: int) -> tuple[Callable, Sequence[Any]]:
    """The function of a program, and the shapes of its arguments."""
    config = config_of(name, dtype="bfloat16", scan="pallas_triton")
    _, params, batch_stats = split(abstract(config, COCO))
    images = jax.ShapeDtypeStruct((batch, *INPUT_HW, 3), jnp.uint8)
    if program == "forward":
        params = jax.eval_shape(functools.partial(cast_once, config=config, skeleton=COCO), params)
        options = Options(flip_test=False, decode=False, scan=config.model.scan)
        return make_program(config, COCO, options), (params, batch_stats, images)
    examples = {
        "image": images,
        "keypoints": jax.ShapeDtypeStruct((batch, COCO.n_joints, 2), jnp.float32),
        "visible": jax.ShapeDtypeStruct((batch, COCO.n_joints), jnp.float32),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.value_and_grad(make_loss(config, COCO), has_aux=True), (params, batch_stats, key, examples)


def _print_largest(text: str, batch: int) -> None:
    """Prints the --top kernels that move the most bytes, and the --top kinds of kernels with their totals."""
    kernels = sorted(hlo.kernels(text), key=lambda kernel: -kernel.moved_bytes)
    for kernel in kernels[: _TOP.value]:
        print(f"  {kernel.moved_bytes / batch / 1e6:8.2f} MB  {kernel.name:40} {kernel.origin[-70:]}")
    kinds = collections.defaultdict(list)
    for kernel in kernels:
        kinds[kernel.name.split(".")[0]].append(kernel.moved_bytes)
    for kind, moved in sorted(kinds.items(), key=lambda item: -sum(item[1]))[: _TOP.value]:
        print(f"  {sum(moved) / batch / 1e6:8.2f} MB in {len(moved):3} of {kind}")


def main() -> None:
    for name in _VARIANTS.value:
        variant(name)  # fails before the first program is compiled, as does the next line
    described_gpu.cuda_folder()
    rows, lines = [], measure.Lines("variant", "program", "batch", "kernels", "mb_per_crop", "scratch_mib")
    for name, program, batch in itertools.product(_VARIANTS.value, _PROGRAMS.value, _BATCHES.value):
        cost, text = row(name, program, batch)
        rows.append(cost)
        lines.print(cost)
        if _TOP.value:
            _print_largest(text, batch)
        if _HLO.value:
            Path(_HLO.value).mkdir(parents=True, exist_ok=True)
            Path(_HLO.value, f"{name}_{program}_{batch}.hlo").write_text(text, encoding="utf-8")
        measure.write(rows)
