"""Splits a batch over devices for functions that the compiler can't split, such as kernels."""

import math
from collections.abc import Callable, Sequence

import jax
from jax import Array
from jax.sharding import AxisType, PartitionSpec


def over_batch(
    function: Callable[..., tuple[Array, ...]], in_axes: Sequence[int | None], out_axes: Sequence[int]
) -> Callable[..., tuple[Array, ...]]:
    """The same function of arrays, but each device computes it for its part of the batch.

    The batch elements must be independent. Without this, XLA gathers the whole batch on every device. It still does so
    if the mesh is unknown during tracing: no array has one yet, as with `jax.jit(in_shardings=...)` of host arrays, and
    `jax.set_mesh` sets none.

    Args:
        in_axes: each argument's batch axis, None if it has none; the first argument must have one.
        out_axes: each result's batch axis.
    """

    def split(*arrays: Array) -> tuple[Array, ...]:
        types = [jax.typeof(array) for array in arrays]
        meshes = [jax.sharding.get_abstract_mesh(), *(type.sharding.mesh for type in types)]
        mesh = next((mesh for mesh in meshes if not mesh.empty), meshes[0])
        kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
        free = {name for name, kind in kinds.items() if kind is not AxisType.Manual}
        # The type names the explicit axes that split the batch, but no automatic ones, so all of those split it.
        explicit = types[0].sharding.spec[in_axes[0]]
        explicit = explicit if isinstance(explicit, tuple) else (explicit,)
        names = tuple(name for name, kind in kinds.items() if kind is AxisType.Auto or name in explicit)
        n = math.prod(mesh.shape[name] for name in names)
        if n == 1 or types[0].shape[in_axes[0]] % n:
            return function(*arrays)

        def specs(axes: Sequence[int | None]) -> tuple[PartitionSpec, ...]:
            return tuple(PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, names) for axis in axes)

        parallel = jax.shard_map(
            function, mesh=mesh, in_specs=specs(in_axes), out_specs=specs(out_axes), axis_names=free, check_vma=False
        )
        return parallel(*arrays)

    return split
