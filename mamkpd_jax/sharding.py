"""The device mesh: the batch is split over all devices, the parameters over those of the axis `fsdp`."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mamkpd_jax.errors import UserError

_AXES = ("data", "fsdp")
_TYPES = (AxisType.Auto, AxisType.Auto)
_MIN_SPLIT_SIZE = 2**12


def training_mesh(fsdp: int = 1) -> Mesh:
    """A mesh of the devices of all processes, with axes `data` and `fsdp`.

    Raises:
        UserError: `fsdp` does not divide the number of devices.
    """
    n = jax.device_count()
    if n % fsdp:
        raise UserError(f"config.fsdp is {fsdp}, which does not divide the {n} devices; set a divisor")
    return jax.make_mesh((n // fsdp, fsdp), _AXES, _TYPES)


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh to predict with, of the given devices or of all of this process: each process does that on its own."""
    devices = jax.local_devices() if devices is None else devices
    return jax.make_mesh((len(devices), 1), _AXES, _TYPES, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """An equal part of the first axis on every device."""
    return NamedSharding(mesh, PartitionSpec(_AXES))


def state_sharding(mesh: Mesh, state: Any) -> Any:
    """Where the arrays of a training state are, as a tree of shardings: split over `fsdp` where that is worth it.

    Choice: an array is split along its longest axis that the devices divide; small ones stay whole.
    """

    def place(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        n = mesh.shape["fsdp"]
        axes = [axis for axis, size in enumerate(leaf.shape) if size % n == 0]
        if n == 1 or not axes or leaf.size < _MIN_SPLIT_SIZE:
            return replicated(mesh)
        axis = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, "fsdp"))

    return jax.tree.map(place, state)


def gathered(tree: Any, mesh: Mesh) -> Any:
    """A tree of arrays of the mesh, whole on each device of this process, for the programs of `data_mesh`."""
    if len(mesh.local_devices) == mesh.size and mesh.shape["fsdp"] == 1:
        return tree
    whole = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(tree)
    return jax.device_put(jax.tree.map(lambda leaf: leaf.addressable_data(0), whole), replicated(data_mesh()))


def check_batch(field: str, batch_size: int, n_devices: int) -> None:
    """Raises UserError if the devices don't divide the batch of the config's `field`."""
    if batch_size % n_devices:
        near = max(1, round(batch_size / n_devices)) * n_devices
        raise UserError(
            f"config.{field} is {batch_size}, which the {n_devices} devices do not divide; set --config.{field}={near}"
        )
