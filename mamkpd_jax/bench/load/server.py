"""The `mamkpd serve` process of the load test."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from mamkpd_jax.bench.load.clients import Client
from mamkpd_jax.errors import UserError


class Server(NamedTuple):
    """A running server, which listens on a port of this machine."""

    process: subprocess.Popen[str]
    port: int


@contextlib.contextmanager
def started(*flags: str, **options: Any) -> Iterator[Server]:
    """Starts a server and waits until it is ready; kills it at the end if it still runs.

    Args:
        flags: of `mamkpd serve`.
        options: of `subprocess.Popen`.

    Raises:
        UserError: the server ended before it was ready.
    """
    command = [sys.executable, "-m", "mamkpd_jax", "serve", "--port=0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            port = next((match[1] for line in lines if (match := re.search(r"ready: http://.*?:(\d+) ", line))), None)
            if port is None:
                raise UserError(f"mamkpd serve ended with exit status {process.wait()}; its error is above")
            yield Server(process, int(port))
        finally:
            process.kill()


class Sample(NamedTuple):
    """The server's metrics at one time."""

    memory_mib: float
    batches: dict[str, int]  # batches per bucket of /metrics, by the bucket's largest number of crops


async def sample(client: Client) -> Sample:
    """Requests /metrics."""
    from prometheus_client.parser import text_string_to_metric_families

    _, content = await client.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    values: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for family in text_string_to_metric_families(content.decode()):
        for found in family.samples:
            values[found.name] = found.value
            if found.name == "mamkpd_batch_crops_bucket":
                sizes[found.labels["le"]] = int(found.value) - sum(sizes.values())
    return Sample(values["process_resident_memory_bytes"] / 2**20, {size: n for size, n in sizes.items() if n})
