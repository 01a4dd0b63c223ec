"""Functions of independent batch elements that the compiler can't look into, such as kernels."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_Axes = Sequence[int | None]


def over_batch(function: Callable[..., tuple[Array, ...]], in_axes: _Axes, out_axes: Sequence[int]) -> Callable:
    """The same function of arrays, for which each device works on its part of the batch, and vmap on one large batch.

    Without this, XLA gathers the whole batch on every device. The sharding is read from the arrays when the caller
    is compiled, so that no mesh has to be named here or set there.

    Args:
        in_axes: each argument's batch axis, None if it has none; the first argument has one.
        out_axes: each result's batch axis.
    """

    def partition(mesh: Mesh, arguments: tuple, results: tuple) -> tuple:
        devices = arguments[0].sharding.spec[in_axes[0]]

        def split(axes: _Axes) -> tuple[NamedSharding, ...]:
            specs = (PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, devices) for axis in axes)
            return tuple(NamedSharding(mesh, spec) for spec in specs)

        return mesh, function, split(out_axes), split(in_axes)

    def rule(mesh: Mesh, arguments: list, results: list) -> tuple[str, dict]:
        """An einsum-like string in which the batch is the one axis that arrays share, and that may be split."""
        own = []

        def names(index: int, array: jax.ShapeDtypeStruct, batch: int | None) -> str:
            axes = ["batch" if axis == batch else f"a{index}x{axis}" for axis in range(len(array.shape))]
            own.extend(axis for axis in axes if axis != "batch")
            return " ".join(axes)

        terms = [
            names(i, array, axis)
            for i, (array, axis) in enumerate(zip([*arguments, *results], [*in_axes, *out_axes], strict=True))
        ]
        split = len(arguments)
        return f"{', '.join(terms[:split])} -> {', '.join(terms[split:])}", {"need_replication_factors": tuple(own)}

    partitioned = custom_partitioning(function)
    partitioned.def_partition(partition, sharding_rule=rule)
    batched = jax.custom_batching.custom_vmap(partitioned)

    @batched.def_vmap
    def vmap(size: int, mapped: list[bool], *arrays: Array) -> tuple[tuple[Array, ...], tuple[bool, ...]]:
        everywhere = (True,) * len(out_axes)
        weights_mapped = any(here for here, axis in zip(mapped, in_axes, strict=True) if axis is None)
        arrays = tuple(
            array if here or (axis is None and not weights_mapped) else jnp.broadcast_to(array, (size, *array.shape))
            for array, here, axis in zip(arrays, mapped, in_axes, strict=True)
        )
        if weights_mapped:
            return jax.lax.map(lambda one: batched(*one), arrays), everywhere
        folded = (array if axis is None else _fold(array, axis) for array, axis in zip(arrays, in_axes, strict=True))
        results = batched(*folded)
        return tuple(_unfold(array, axis, size) for array, axis in zip(results, out_axes, strict=True)), everywhere

    return batched


def _fold(array: Array, axis: int) -> Array:
    """The first axis into the batch, which `axis` was before the first one came."""
    array = jnp.moveaxis(array, 0, axis)
    return array.reshape(*array.shape[:axis], -1, *array.shape[axis + 2 :])


def _unfold(array: Array, axis: int, size: int) -> Array:
    array = array.reshape(*array.shape[:axis], size, -1, *array.shape[axis + 1 :])
    return jnp.moveaxis(array, axis, 0)
