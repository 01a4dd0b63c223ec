"""Measures the time and memory that a run needs, before it starts."""

import time

import jax
from tqdm import tqdm

from mamkpd_jax.config import Config
from mamkpd_jax.environment import peak_memory_bytes
from mamkpd_jax.errors import UserError
from mamkpd_jax.training.state import TrainState
from mamkpd_jax.training.step import Batch, TrainStep


def dry_run(config: Config, train_step: TrainStep, state: TrainState, batch: Batch, steps_left: int) -> str:
    """Compiles the step, runs it twice on one batch, and returns a report of time and memory in several lines.

    The second run is the one that is timed.

    Raises:
        UserError: the step needs more memory than the devices have.
    """
    start = time.monotonic()
    compiled = train_step.lower(state, batch).compile()  # type: ignore[attr-defined]
    compile_s = time.monotonic() - start
    analysis = compiled.memory_analysis()
    needed_gib = (analysis.temp_size_in_bytes + analysis.argument_size_in_bytes) / 2**30
    try:
        for _ in range(2):
            start = time.monotonic()
            state, metrics = compiled(state, batch)
            loss = float(metrics["loss"])
            step_s = time.monotonic() - start
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"config.optim.batch_size={config.optim.batch_size}: a step needs {needed_gib:.2f} GiB a device "
            "(compiler's estimate), more than is free; lower it, or see Out of memory in docs/troubleshooting.md"
        ) from error
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    saved_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    run = tqdm.format_interval(steps_left * step_s)
    return "\n".join(
        (
            f"devices     {jax.device_count()} x {jax.devices()[0].device_kind}",
            f"parameters  {parameters:,}; a checkpoint takes {saved_bytes / 2**20:.0f} MiB",
            f"compiling   {compile_s:.0f} s",
            f"a step      {step_s:.3f} s, {config.optim.batch_size / step_s:.3g} images/s, loss {loss:.3g}",
            f"memory      {needed_gib:.2f} GiB a device (compiler's estimate), peak so far "
            f"{peak_memory_bytes() / 2**30:.2f} GiB",
            f"the run     {steps_left:,} steps, {run} without evaluations, if the loader keeps up",
        )
    )
