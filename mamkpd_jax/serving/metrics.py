"""The server's Prometheus metrics."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LATENCIES_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts requests for poses, their latency, and the batches."""

    def __init__(self, batch_size: int):
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("mamkpd_requests", "Requests for poses.", ["status"], registry=registry)
        self._latency = Histogram(
            "mamkpd_request_seconds", "Time from a request's header to the end of its response.",
            buckets=_LATENCIES_S, registry=registry,
        )  # fmt: skip
        sizes = [2**i for i in range(batch_size.bit_length()) if 2**i < batch_size]
        self.batch_crops = Histogram(
            "mamkpd_batch_crops", "Crops in a batch.", buckets=[*sizes, batch_size], registry=registry
        )

    def watch(self, *, waiting_crops: Callable[[], int], running_requests: Callable[[], int]) -> None:
        """Adds gauges whose values these functions return."""
        for name, text, value in (
            ("mamkpd_waiting_crops", "Crops that are not yet in a batch.", waiting_crops),
            ("mamkpd_running_requests", "Requests for poses that are running.", running_requests),
        ):
            Gauge(name, text, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def measured(self, app: ASGIApp, path: str) -> ASGIApp:
        """The application, wrapped so that requests to a path are counted and timed."""

        async def measure(scope: Scope, receive: Receive, send: Send) -> None:
            status = 500  # if the application raises

            async def note_status(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            start = time.perf_counter()
            try:
                await app(scope, receive, note_status)
            finally:
                self._requests.labels(status).inc()
                self._latency.observe(time.perf_counter() - start)

        async def choose(scope: Scope, receive: Receive, send: Send) -> None:
            is_measured = scope["type"] == "http" and scope["path"] == path
            await (measure if is_measured else app)(scope, receive, send)

        return choose
