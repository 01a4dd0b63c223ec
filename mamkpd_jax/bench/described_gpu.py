"""Compiles functions for an NVIDIA GPU on a machine without one, to the code that a real run executes.

Needs the extra `kernel-report`: XLA's CUDA compiler (jax-cuda13-plugin) and NVIDIA's assembler (nvidia-cuda-nvcc).
"""

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from jaxlib.mlir import ir

from mamkpd_jax.errors import UserError
from mamkpd_jax.ops import layer_norm_kernel
from mamkpd_jax.registry import SCANS

_DESCRIPTION = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  cuda_compute_capability {{ major: {capability[0]} minor: {capability[1]} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  {fields}
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 12 patch: 0 }}
runtime_version {{ major: 13 minor: 0 patch: 0 }} device_description_str: "{name}"
"""
_OPTIONS = {
    # Newer releases of XLA dump PTX only with this option.
    "xla_dump_emitter_re": "ptx",
    # XLA chooses the tiles of Triton matrix products by timing them, which needs a GPU.
    "xla_gpu_enable_triton_gemm": False,
    # XLA's defaults. The tests set XLA_FLAGS that compile faster but to other code than a real run's.
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
}


class Card(NamedTuple):
    """An NVIDIA GPU as its data sheet describes it."""

    name: str
    capability: tuple[int, int]
    fields: str  # further fields of XLA's GPU description; sizes in bytes, bandwidth in bytes a second


_H200 = """
  threads_per_core_limit: 2048 core_count: 132 clock_rate_ghz: 1.98
  shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  memory_bandwidth: 4800000000000 l2_cache_size: 52428800 device_memory_size: 141000000000
"""
_RTX_4090 = """
  threads_per_core_limit: 1536 core_count: 128 clock_rate_ghz: 2.52
  shared_memory_per_core: 102400 shared_memory_per_block_optin: 101376
  memory_bandwidth: 1008000000000 l2_cache_size: 75497472 device_memory_size: 25769803776
"""
H200 = Card("NVIDIA H200", (9, 0), _H200)
RTX_4090 = Card("NVIDIA GeForce RTX 4090", (8, 9), _RTX_4090)


class CompiledKernel(NamedTuple):
    """A compiled Pallas kernel: its PTX and its grid."""

    ptx: str
    grid: tuple[int, int, int]


def kernels(function: Callable, arguments: Sequence[jax.ShapeDtypeStruct], card: Card) -> dict[str, CompiledKernel]:
    """The compiled Pallas kernels of a function, by name, in the order in which it calls them.

    Args:
        arguments: the shapes and dtypes of the function's arguments.

    Raises:
        UserError: the extra `kernel-report` is not installed.
    """
    lowered = lower(function, _placed(arguments, card), card)
    with tempfile.TemporaryDirectory() as folder:
        _compile(lowered, {"xla_dump_to": folder})
        ptx = [path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("*.ptx"))]
    texts = {name: text for text in ptx for name in re.findall(r"\.entry (\w+)\(", text)}
    return {name: CompiledKernel(texts[name], grid) for name, grid in grids(lowered).items()}


def program(function: Callable, arguments: Sequence[Any], card: Card) -> jax.stages.Compiled:
    """A whole function compiled for a card.

    Args:
        arguments: trees of the shapes and dtypes of the function's arguments.

    Raises:
        UserError: the extra `kernel-report` is not installed.
    """
    return _compile(lower(function, _placed(arguments, card), card), {})


@contextlib.contextmanager
def kernels_can_run() -> Iterator[None]:
    """Allows Pallas kernels without a GPU, in models that are built and traced in this context and name the scan."""
    with (
        mock.patch.object(SCANS["pallas_triton"], "platform", None),
        mock.patch.object(layer_norm_kernel, "works", lambda: True),
    ):
        yield


def lower(function: Callable, arguments: Sequence[Any], card: Card) -> jax.stages.Lowered:
    """A function lowered for a card; needs jax alone."""
    device = jax.sharding.AbstractDevice(device_kind=card.name, num_cores=None, platform="gpu")
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device)):
        return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",))


def grids(lowered: jax.stages.Lowered) -> dict[str, tuple[int, int, int]]:
    """The grids (x, y, z) of the Pallas kernels of a lowered function, by name, in the order of their calls."""
    found = {}

    def visit(operation: ir.Operation) -> ir.WalkResult:
        if operation.name == "stablehlo.custom_call" and "triton" in str(operation.attributes["call_target_name"]):
            config = ir.DictAttr(operation.attributes["mhlo.backend_config"])
            x, y, z = (ir.IntegerAttr(config[f"grid_{axis}"]).value for axis in "xyz")
            found[ir.StringAttr(config["name"]).value] = x, y, z
        return ir.WalkResult.ADVANCE

    module: Any = lowered.compiler_ir("stablehlo")
    module.operation.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


def cuda_folder() -> Path:
    """The folder of NVIDIA's assembler and device libraries.

    Raises:
        UserError: the extra `kernel-report` is not installed.
    """
    try:
        import jax_plugins.xla_cuda13  # type: ignore[import-not-found]  # noqa: F401
        import nvidia.cu13 as cuda  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError(f"{error}; install it with: pip install '.[kernel-report]'") from error
    return Path(next(iter(cuda.__path__)))


def _placed(arguments: Sequence[Any], card: Card) -> Sequence[Any]:
    cuda_folder()  # raises UserError if the compiler is missing
    description = _DESCRIPTION.format(**card._asdict())
    topology = topologies.get_topology_desc("", "cuda", target_config=description, topology="1x1x1")
    here = jax.sharding.SingleDeviceSharding(topology.devices[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), arguments)


def _compile(lowered: jax.stages.Lowered, options: Mapping[str, Any]) -> jax.stages.Compiled:
    # JAX's compilation cache would store these programs but can't load them without the GPU.
    before = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        return lowered.compile(compiler_options={"xla_gpu_cuda_data_dir": str(cuda_folder()), **options, **_OPTIONS})
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()
