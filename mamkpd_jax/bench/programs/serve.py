"""Load-tests `mamkpd serve`: latency, throughput beside the Predictor's, memory, and the effect of faulty clients.

mamkpd bench serve --pictures=data/coco/val2017 --output=benchmarks/results/serve.json

Clients on the same machine send photos without pause, with and without boxes; every tenth request must be refused.
Further clients disconnect while they send or wait, send a byte at a time, or send too much. At the end SIGTERM stops
the server while requests are running. Responses are compared with the Predictor's poses. The Predictor's throughput is
measured before and after on the same pictures, boxes and batch size. The server shares the processor with the clients,
whose CPU time is recorded.
"""

import asyncio
import itertools
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.bench import measure
from mamkpd_jax.bench.load import clients
from mamkpd_jax.bench.load.messages import Good, bad_requests, good_requests
from mamkpd_jax.bench.load.server import Sample, Server, sample, started
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.predictor import Predictor

_CHECKPOINT = cli.define_checkpoint("people", exported=True)
_PICTURES = flags.DEFINE_string("pictures", "data/coco/val2017", "Folder of JPEG files; 48 of them are sent.")
_CLIENTS = flags.DEFINE_integer("clients", 32, "Number of clients that send good pictures.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 60.0, "Duration of the load in seconds.", lower_bound=1.0, allow_override=True)
_BATCH = flags.DEFINE_integer("batch_size", 8, "Crops per batch.", lower_bound=1, allow_override=True)
_MAX_WAIT = flags.DEFINE_float("max_wait_ms", 5.0, "As in mamkpd serve.", lower_bound=0.0, allow_override=True)

_COLUMNS = (
    *("clients", "seconds", "good", "failures", "pictures_per_s", "share_of_predictor"),
    *("latency_ms.p50", "latency_ms.p95", "latency_ms.p99", "memory_mib.settled", "memory_mib.end"),
    "sigterm.exit_status",
)
_N_PICTURES = 48
_SETTLED_S = 10.0  # after this time memory should be constant
_MAX_PREDICTOR_S = 15.0  # for the Predictor, before and after
_FAULTY = 4
_READ_TIMEOUT_S = 5.0  # short enough to refuse slow clients during the test
_EXAMPLES = 5  # recorded failures


def pictures() -> list[bytes]:
    """The content of the folder's JPEG files, at most 48 and evenly spaced.

    Raises:
        UserError: there is no such file.
    """
    paths = sorted(Path(_PICTURES.value).glob("*.jpg"))
    if not paths:
        raise UserError(f"--pictures: {_PICTURES.value} has no .jpg file; give a folder of photos")
    return [path.read_bytes() for path in paths[:: max(1, len(paths) // _N_PICTURES)][:_N_PICTURES]]


def predictor_rate(predictor: Predictor, good: list[Good], seconds: float) -> float:
    """The throughput of `Predictor.stream` over the good requests in turn, in pictures per second."""
    start = time.perf_counter()
    n, passed_s = 0, 0.0
    results = predictor.stream((one.picture, one.boxes) for one in itertools.cycle(good))
    while passed_s < seconds:
        next(results)
        n, passed_s = n + 1, time.perf_counter() - start
    return n / passed_s


async def load(server: Server, good: list[Good], n: int, seconds: float) -> dict[str, Any]:
    """Loads a server with `n` clients, then stops it with SIGTERM; returns what the clients saw."""
    tally, samples, bad = clients.Tally(), [], bad_requests(good[0].picture)
    cpu_s, start = time.process_time(), time.perf_counter()
    steady, faulty = clients.start(server.port, n, good, bad, tally)
    watch = clients.Client(server.port)
    while (passed_s := time.perf_counter() - start) < seconds:
        await asyncio.sleep(min(1.0, seconds - passed_s))
        samples.append(await sample(watch))
    seconds = time.perf_counter() - start
    row = {**summary(tally, samples, seconds), "clients_cpu_cores": (time.process_time() - cpu_s) / seconds}
    watch.close()
    for task in faulty:
        task.cancel()
    ended = await _terminated(server, tally, steady)
    broken = [
        str(fault) for fault in await asyncio.gather(*faulty, return_exceptions=True) if isinstance(fault, Exception)
    ]
    return row | {
        "failures": len(tally.failures),
        "failure_examples": tally.failures[:_EXAMPLES],
        "bad_requests": dict(sorted(tally.statuses.items())),
        "unexpected": (tally.unexpected + broken)[:_EXAMPLES],
        "sigterm": ended,
    }


def summary(tally: clients.Tally, samples: list[Sample], seconds: float) -> dict[str, Any]:
    """Latency, throughput and memory under load; `samples` are one second apart."""
    p50, p95, p99 = np.percentile(tally.latencies_ms or [np.nan], [50, 95, 99]).tolist()
    memory = [one.memory_mib for one in samples]
    settled = min(int(_SETTLED_S), len(memory)) - 1
    return {
        "good": len(tally.latencies_ms),
        "pictures_per_s": len(tally.latencies_ms) / seconds,
        "crops_per_s": tally.crops / seconds,
        "latency_ms": {"p50": p50, "p95": p95, "p99": p99},
        "memory_mib": {"settled": memory[settled], "end": memory[-1], "most": max(memory), "by_second": memory},
        "batches": samples[-1].batches,
    }


async def _terminated(server: Server, tally: clients.Tally, steady: list[asyncio.Task]) -> dict[str, Any]:
    """Stops the clients, then the server while requests are running; each of these must still get its response."""
    failures = len(tally.failures)
    tally.stopping.set()
    await asyncio.sleep(0.02)  # so that the server reads the requests that were sent
    running, start = tally.running, time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*steady)
    status = await asyncio.to_thread(server.process.wait)
    return {
        "running": running,
        "failures": len(tally.failures) - failures,
        "seconds": time.perf_counter() - start,
        "exit_status": status,
    }


def main() -> None:
    predictor = Predictor.from_pretrained(_CHECKPOINT.value, batch_size=_BATCH.value)
    good = good_requests(predictor, pictures())
    n, seconds = _CLIENTS.value, _SECONDS.value
    with started(
        *(f"--checkpoint={_CHECKPOINT.value}", f"--batch_size={_BATCH.value}", f"--max_wait_ms={_MAX_WAIT.value}"),
        *(f"--max_requests={n + _FAULTY}", f"--read_timeout_s={min(_READ_TIMEOUT_S, seconds / 2)}"),
    ) as server:
        before = predictor_rate(predictor, good, min(seconds / 4, _MAX_PREDICTOR_S))
        row = {"clients": n, "seconds": seconds, **asyncio.run(load(server, good, n, seconds))}
    after = predictor_rate(predictor, good, min(seconds / 4, _MAX_PREDICTOR_S))
    rates = {"predictor_pictures_per_s": {"before": before, "after": after}}
    row |= rates | {"share_of_predictor": row["pictures_per_s"] / ((before + after) / 2)}
    measure.Lines(*_COLUMNS).print(row)
    for line in row["failure_examples"] + row["unexpected"]:
        print(f"failed: {line}")
    measure.write([row], checkpoint=_CHECKPOINT.value, batch_size=_BATCH.value, max_wait_ms=_MAX_WAIT.value)
