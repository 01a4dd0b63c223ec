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
    """A mesh for prediction, of the given devices or of all of this process: each process predicts independently."""
    devices = jax.local_devices() if devices is None else devices
    return jax.make_mesh((len(devices), 1), _AXES, _TYPES, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding with a full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """The sharding with an equal part of the first axis on every device."""
    return NamedSharding(mesh, PartitionSpec(_AXES))


def state_sharding(mesh: Mesh, state: Any) -> Any:
    """The shardings of a training state, as a tree: large arrays are split over the axis `fsdp`.

    Choice: an array is split along its longest axis whose size is divisible by that of `fsdp`; small ones are copied.
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
    """A tree of the mesh's arrays with a full copy on each device of this process, for programs of `data_mesh`."""
    if len(mesh.local_devices) == mesh.size and mesh.shape["fsdp"] == 1:
        return tree
    copied = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(tree)
    return jax.device_put(jax.tree.map(lambda leaf: leaf.addressable_data(0), copied), replicated(data_mesh()))


def check_batch(field: str, batch_size: int, n_devices: int) -> None:
    """Raises UserError if the number of devices does not divide the batch size, which is the config's `field`."""
    if batch_size % n_devices:
        near = max(1, round(batch_size / n_devices)) * n_devices
        raise UserError(
            f"config.{field} is {batch_size}, which the {n_devices} devices do not divide; set --config.{field}={near}"
        )
