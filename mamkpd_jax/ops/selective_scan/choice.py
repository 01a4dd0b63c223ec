"""Chooses the implementation of the selective scan."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from absl import logging
from jax import Array, export, lax

from mamkpd_jax.errors import UserError
from mamkpd_jax.ops.selective_scan.implementation import Implementation
from mamkpd_jax.registry import SCANS


def resolve(name: str | None) -> Implementation:
    """The implementation with a name, or for None the best one for this process's devices.

    Raises:
        UserError: there is no such implementation, or it can't run here.
    """
    if name is None:
        return _choose(export.default_export_platform())
    found: Implementation = SCANS[name]
    if not runs_here(name):
        raise UserError(
            f"config.model.scan is {name!r}, which runs on {found.platform} alone, and this is "
            f"{export.default_export_platform()}; set --config.model.scan=auto, which chooses what runs here"
        )
    return found


def runs_here(name: str) -> bool:
    """Whether this process has the platform that an implementation runs on."""
    return SCANS[name].platform in (None, export.default_export_platform())


def passes_check(name: str) -> bool:
    """Whether an implementation runs here and its check finds no fault."""
    return runs_here(name) and SCANS[name].fault() is None


def ranked(platform: str) -> list[str]:
    """The names of the implementations that have a rank on a platform, best first."""
    ranks = {name: SCANS[name].rank(platform) for name in SCANS.names()}
    return sorted((name for name in ranks if ranks[name] is not None), key=ranks.__getitem__, reverse=True)


@functools.cache
def _choose(platform: str) -> Implementation:
    """The best implementation for this process's platform that passes its check; the log names it, once.

    Programs that are lowered for another platform, or with a symbolic batch, use the serializable default instead.
    """
    faults = {}
    for name in ranked(platform):
        faults[name] = SCANS[name].fault()
        if faults[name] is None:
            break
    *faulty, name = faults
    for other in faulty:
        message = "selective scan: %s fails its check on %s (%s); the slower %s is used"
        logging.warning(message, other, jax.local_devices()[0].device_kind, faults[other], name)
    logging.info("selective scan on %s: %s", platform, name)
    chosen = SCANS[name]
    if chosen.serializable:
        return chosen
    return by_platform(lambda: {"default": serializable()["default"], platform: chosen})


def serializable() -> dict[str, Implementation]:
    """The best serializable implementation by platform; "default" is for platforms that no implementation names."""
    entries = {name: SCANS[name] for name in SCANS.names()}
    platforms = sorted({platform for one in entries.values() if one.serializable for platform in one.ranks})
    return {p: next(entries[n] for n in ranked(p) if entries[n].serializable) for p in platforms}


def by_platform(branches: Callable[[], Mapping[str, Implementation]]) -> Implementation:
    """An implementation that runs the branch for the platform that a program is lowered for."""

    def run(function: str, *arrays: Array, **options: Any) -> Array:
        symbolic = export.is_symbolic_dim(arrays[0].shape[0])  # kernels are tiled for a number
        usable = {p: one for p, one in branches().items() if one.serializable or not symbolic}
        functions = {p: functools.partial(getattr(one, function), **options) for p, one in usable.items()}
        return lax.platform_dependent(*arrays, **functions)

    return Implementation(ss2d=functools.partial(run, "ss2d"), plain=functools.partial(run, "plain"))
