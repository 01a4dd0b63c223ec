"""What the scan's kernels compile to, on a machine without a GPU: instructions a token, registers, spills.

`make kernel-report`, or python -m mamkpd_jax.bench.kernel_report --output=FILE.json with the extra `kernel-report`.

The kernels' Triton IR comes from jax; the triton package turns it into machine code. XLA brings a Triton of its own,
so that a real run may differ by a few instructions.
"""

import collections
import itertools
import re
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxlib.mlir import ir
from jaxlib.triton import dialect

from mamkpd_jax import cli
from mamkpd_jax.bench import measure
from mamkpd_jax.environment import environment
from mamkpd_jax.errors import UserError
from mamkpd_jax.ops.selective_scan import pallas_triton
from mamkpd_jax.ops.selective_scan.tiling import plan
from mamkpd_jax.ops.selective_scan.workloads import WORKLOADS, Workload

_CARDS = {"NVIDIA H200": 90, "NVIDIA GeForce RTX 4090": 89}
# The shape that the kernels' bounds are stated for, and the model's own.
_WORKLOADS = {"bound: rank 6, 64 channels": Workload(64, 48, 192, 6)} | WORKLOADS
_BATCHES = 1, 64  # in segments, and one program a walk
_WARP = 32


def lower(function: Callable, arguments: Sequence[jax.ShapeDtypeStruct], card: str) -> jax.stages.Lowered:
    """A function for a card that need not be here."""
    device = jax.sharding.AbstractDevice(device_kind=card, num_cores=None, platform="gpu")
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device)):
        return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",))


def triton_ir(lowered: jax.stages.Lowered) -> list[str]:
    """The Triton modules that a lowered function calls, in order."""
    modules = []
    for operation in _operations(lowered.compiler_ir("stablehlo")):
        if operation.name == "stablehlo.custom_call" and "triton" in str(operation.attributes["call_target_name"]):
            code = ir.StringAttr(ir.DictAttr(operation.attributes["mhlo.backend_config"])["ir"]).value_bytes
            with ir.Context() as context, ir.Location.unknown():
                dialect.register_dialect(context)
                context.load_all_available_dialects()
                modules.append(ir.Module.parse(code).operation.get_asm(enable_debug_info=False))
    return modules


def _operations(module: Any) -> Iterator[Any]:
    """All operations inside a module or an operation."""
    for region in module.operation.regions:
        for block in region:
            for inner in block:
                yield inner.operation
                yield from _operations(inner)


def machine_code(module: str, capability: int) -> tuple[str, dict[str, int]]:
    """A Triton module's assembly, and its REG, STACK and SHARED."""
    import triton  # type: ignore[import-not-found]  # of the extra kernel-report alone
    from triton.backends.compiler import GPUTarget  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder) / "kernel.ttir", Path(folder) / "kernel.cubin"
        source.write_text(module, encoding="utf-8")
        options = {"num_warps": 1, "num_stages": 1}
        compiled = triton.compile(str(source), target=GPUTarget("cuda", capability, _WARP), options=options)
        binary.write_bytes(compiled.asm["cubin"])
        tool = Path(str(triton.__file__)).parent / "backends/nvidia/bin/cuobjdump"
        assembly, usage = (
            subprocess.run([tool, flag, binary], capture_output=True, text=True, check=True).stdout
            for flag in ("-sass", "-res-usage")
        )
    return assembly, {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED):(\d+)", usage)}


def loops(assembly: str) -> list[collections.Counter[str]]:
    """Instructions by kind of each innermost loop: what lies between a branch back and its target."""
    code = [
        (int(address, 16), text) for address, text in re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", assembly, re.M)
    ]
    back = []
    for address, text in code:
        target = re.search(r"\bBRA\b.*?\b0x([0-9a-f]+)", text)
        if target and int(target[1], 16) < address:
            back.append((int(target[1], 16), address))
    inner = [loop for loop in back if not any(loop[0] <= o[0] and o[1] <= loop[1] for o in back if o != loop)]
    return [
        collections.Counter(
            re.sub(r"^@!?U?P\w+\s+", "", text).split()[0].split(".")[0] for at, text in code if a <= at <= b
        )
        for a, b in inner
    ]


def rows() -> Iterator[dict[str, Any]]:
    """One row a workload, batch, kernel and card, for bf16 activations."""
    for (name, work), batch, (card, capability) in itertools.product(_WORKLOADS.items(), _BATCHES, _CARDS.items()):
        scan = plan(range(4), work.h, work.w, work.d, work.n, work.rank, interpret=False).for_batch(batch)
        arguments = work.shapes(batch, jnp.bfloat16)[:5]
        for kernel, module in _kernels(arguments, card).items():
            assembly, usage = machine_code(module, capability)
            # One loop a direction, after that over the segments before a program's own. Each instruction is of one
            # warp, so of 32 channels or of all that a thread has.
            tokens = scan.chunk * scan.channels / _WARP
            counts = [loop.total() / tokens for loop in loops(assembly)[-len(scan.directions) :]]
            yield {
                "workload": name,
                "batch": batch,
                "segments": scan.segments,
                "kernel": kernel,
                "sm": capability,
                "rank_in_kernel": scan.rank,
                "channels": scan.channels,
                "chunk": scan.chunk,
                "instructions_mean": round(statistics.mean(counts), 1),
                "instructions_by_direction": [round(count, 1) for count in counts],
                "registers": usage["REG"],
                "spills": len(re.findall(r"\b(?:STL|LDL)\b", assembly)),
                "stack_bytes": usage["STACK"],
            }


def _kernels(arguments: Sequence[jax.ShapeDtypeStruct], card: str) -> dict[str, str]:
    """The Triton modules of a scan and of its gradients, by what they do."""
    *_, forward = triton_ir(lower(pallas_triton.ss2d, arguments, card))
    with_gradients = triton_ir(lower(_with_gradients, arguments, card))
    names = [re.findall(r"selective_scan_(\w+)", module)[0].replace("_", " ") for module in with_gradients]
    renamed = ["forward with checkpoints" if name == "forward" else name for name in names]
    return {"forward": forward} | dict(zip(renamed, with_gradients, strict=True))


def _with_gradients(*arrays: jax.Array) -> Any:
    y, pullback = jax.vjp(pallas_triton.ss2d, *arrays)
    return y, pullback(y)


def main() -> None:
    try:
        import triton  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        raise UserError(f"{error}; install it with: pip install -e '.[kernel-report]'") from error
    print("instructions per 32 channels, token and direction")
    print(f"{'workload':28}{'batch':>5}  {'kernel':26}{'sm':>3}{'mean':>7}{'most':>7}{'registers':>11}{'spills':>8}")
    result = {"environment": environment(), "rows": []}
    for row in rows():
        result["rows"].append(row)
        most = max(row["instructions_by_direction"])
        print(
            f"{row['workload']:28}{row['batch']:5}  {row['kernel']:26}{row['sm']:3}{row['instructions_mean']:7}{most:7}"
            f"{row['registers']:11}{row['spills']:8}",
            flush=True,
        )
        measure.write(result)


if __name__ == "__main__":
    cli.run(main)
