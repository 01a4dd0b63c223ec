"""The device mesh: the batch is split over its one axis, `data`, and everything else is on every device."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mamkpd_jax.errors import UserError


def data_mesh() -> Mesh:
    """A mesh of all devices."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """An equal part of the first axis on every device."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch(field: str, batch_size: int, mesh: Mesh) -> None:
    """Raises UserError if the devices don't divide the batch of the config's `field`."""
    if batch_size % mesh.size:
        near = max(1, round(batch_size / mesh.size)) * mesh.size
        raise UserError(
            f"config.{field} is {batch_size}, which the {mesh.size} devices do not divide; set --config.{field}={near}"
        )
