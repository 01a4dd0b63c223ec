"""Compiles the scan's kernels for a GPU without one and counts instructions per token, registers and spills.

`make kernel-report`, or with the extra `kernel-report`:

mamkpd bench kernel_report --output=benchmarks/kernel_report.json
"""

import collections
import itertools
import re
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mamkpd_jax.bench import measure
from mamkpd_jax.bench.described_gpu import H200, RTX_4090, Card, CompiledKernel, cuda_folder, kernels
from mamkpd_jax.bench.programs.scan import with_gradients
from mamkpd_jax.ops.selective_scan.implementations import pallas_triton
from mamkpd_jax.ops.selective_scan.tiling import plan
from mamkpd_jax.ops.selective_scan.workloads import WORKLOADS, Workload

# The shape for which the kernels' bounds are stated, and the model's shapes.
_WORKLOADS = {"bound: rank 6, 64 channels": Workload(64, 48, 192, 6)} | WORKLOADS
_BATCHES = 1, 64  # with and without segments
_WARP = 32


def machine_code(ptx: str) -> tuple[str, dict[str, int]]:
    """The assembly of a PTX module, and its resource usage by name: REG, STACK and SHARED.

    Raises:
        UserError: the extra `kernel-report` is not installed.
    """
    tools = cuda_folder() / "bin"
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx, encoding="utf-8")
        target = re.search(r"^\.target (\w+)", ptx, re.M)[1]  # type: ignore[index]  # PTX always has it
        subprocess.run([tools / "ptxas", f"-arch={target}", source, "-o", binary], check=True)
        assembly, usage = (
            subprocess.run([tools / "cuobjdump", flag, binary], capture_output=True, text=True, check=True).stdout
            for flag in ("-sass", "-res-usage")
        )
    return assembly, {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED):(\d+)", usage)}


def loops(assembly: str) -> list[collections.Counter[str]]:
    """The instructions of each innermost loop, counted by kind; a loop spans from a backward branch to its target."""
    code = [
        (int(address, 16), text) for address, text in re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", assembly, re.M)
    ]
    back = []
    for address, text in code:
        target = re.search(r"\bBRA\b.*?\b0x([0-9a-f]+)", text)
        if target and int(target[1], 16) < address:
            back.append((int(target[1], 16), address))
    inner = [loop for loop in back if not any(loop[0] <= o[0] and o[1] <= loop[1] for o in back if o != loop)]
    kinds = [(at, re.sub(r"^@!?U?P\w+\s+", "", text).split()[0].split(".")[0]) for at, text in code]
    return [collections.Counter(kind for at, kind in kinds if a <= at <= b) for a, b in inner]


def rows() -> Iterator[dict[str, Any]]:
    """One row per workload, batch size, kernel and card, for bfloat16 activations."""
    for (name, work), batch, card in itertools.product(_WORKLOADS.items(), _BATCHES, (H200, RTX_4090)):
        scan = plan(range(4), work.h, work.w, work.d, work.n, work.rank, interpret=False).for_batch(batch)
        for kernel, compiled in _kernels(work.shapes(batch, jnp.bfloat16), card).items():
            assembly, usage = machine_code(compiled.ptx)
            # The last loops are those of the directions, one each; a loop over earlier segments comes before them. An
            # instruction serves a warp: 32 channels, or all channels of its threads.
            tokens = scan.chunk * scan.channels / _WARP
            counts = [loop.total() / tokens for loop in loops(assembly)[-len(scan.directions) :]]
            yield {
                "workload": name,
                "batch": batch,
                "segments": scan.segments,
                "kernel": kernel,
                "sm": 10 * card.capability[0] + card.capability[1],
                "rank_in_kernel": scan.rank,
                "channels": scan.channels,
                "chunk": scan.chunk,
                "instructions_mean": round(statistics.mean(counts), 1),
                "instructions_by_direction": [round(count, 1) for count in counts],
                "registers": usage["REG"],
                "spills": len(re.findall(r"\b(?:STL|LDL)\b", assembly)),
                "stack_bytes": usage["STACK"],
            }


def _kernels(arguments: Sequence[jax.ShapeDtypeStruct], card: Card) -> dict[str, CompiledKernel]:
    """The kernels of a scan and of its gradients, by role, such as "forward with checkpoints"."""
    forward = kernels(pallas_triton.ss2d, arguments, card)["selective_scan_forward"]
    both = kernels(with_gradients(pallas_triton.ss2d), arguments, card)
    names = {name: name.removeprefix("selective_scan_").replace("_", " ") for name in both}
    names["selective_scan_forward"] = "forward with checkpoints"
    return {"forward": forward} | {names[name]: kernel for name, kernel in both.items()}


def main() -> None:
    version = subprocess.run([cuda_folder() / "bin" / "ptxas", "--version"], capture_output=True, text=True).stdout
    found, assembler = [], re.findall(r"V([\d.]+)", version)[-1]
    lines = measure.Lines("workload", "batch", "kernel", "sm", "instructions_mean", "most", "registers", "spills")
    print("instructions per 32 channels, token and direction")
    for row in rows():
        found.append(row)
        lines.print(row | {"most": max(row["instructions_by_direction"])})
        measure.write(found, ptxas=assembler)
