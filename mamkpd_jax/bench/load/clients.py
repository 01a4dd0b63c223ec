"""Clients of the load test, as tasks in one thread: good ones, and ones that disconnect early or send too slowly."""

import asyncio
import collections
import contextlib
import dataclasses
import itertools
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence

from mamkpd_jax.bench.load.messages import Bad, Good, difference, too_large

_TIMEOUT_S = 60.0
_PAUSE_S = 0.25  # between the attempts of a faulty client
_BYTE_S = 0.05  # between the bytes of a slow client
_EVERY = 10  # one request in ten is bad

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclasses.dataclass
class Tally:
    """Counts of what the clients have sent and received."""

    stopping: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    running: int = 0  # requests without a response so far
    latencies_ms: list[float] = dataclasses.field(default_factory=list)  # of good requests
    crops: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)  # of good requests
    statuses: collections.Counter = dataclasses.field(default_factory=collections.Counter)  # of bad requests, by name
    unexpected: list[str] = dataclasses.field(default_factory=list)  # wrong responses to bad requests


class Client:
    """A client with a persistent connection, which it reopens after the server has closed it."""

    def __init__(self, port: int):
        self._port, self._streams = port, None

    async def ask(self, message: bytes) -> tuple[int, bytes]:
        """Sends an HTTP message and returns the status and body of the response.

        Raises:
            OSError, EOFError, TimeoutError: no response came.
        """
        reader, writer = self._streams = self._streams or await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                writer.write(message)
                status, content, is_last = await answer(reader)
        except BaseException:
            self.close()
            raise
        if is_last:
            self.close()
        return status, content

    def close(self) -> None:
        """Closes the connection; the next request opens a new one."""
        if self._streams:
            self._streams[1].close()
            self._streams = None


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Reads a response: its status, its body, and whether the server closes the connection after it."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"content-length: *(\d+)", head)
    content = await reader.readexactly(int(length[1])) if length else b""
    return int(head[9:12]), content, b"connection: close" in head


async def send_requests(port: int, requests: Iterator[Good | Bad], tally: Tally) -> None:
    """Sends one request after another until `tally.stopping` is set; each waits for the response to the one before."""
    client = Client(port)
    while not tally.stopping.is_set():
        request = next(requests)
        start = time.perf_counter()
        tally.running += 1
        try:
            status, content = await client.ask(request.message)
        except (OSError, EOFError) as error:
            status, content = 0, repr(error).encode()
        tally.running -= 1
        _note(tally, request, status, content, 1e3 * (time.perf_counter() - start))
    client.close()


def _note(tally: Tally, request: Good | Bad, status: int, content: bytes, ms: float) -> None:
    line = f"{status} {content[:200].decode(errors='replace')}"
    if isinstance(request, Bad):
        tally.statuses[f"{request.name}: {status}"] += 1
        tally.unexpected += [f"{request.name}: {line}"] if status != request.status else []
        return
    problem = line if status != 200 else difference(content, request.keypoints)
    if problem:
        tally.failures.append(problem)
    else:
        tally.latencies_ms.append(ms)
        tally.crops += len(request.keypoints)


async def disconnect_early(port: int, sent: bytes, tally: Tally, name: str) -> None:
    """Repeatedly sends `sent`, a message or part of one, and disconnects."""
    while True:
        async with _connected(port) as (_, writer):
            writer.write(sent)
            await asyncio.sleep(0.02)
        tally.statuses[name] += 1
        await asyncio.sleep(_PAUSE_S)


async def send_slowly(port: int, message: bytes, tally: Tally) -> None:
    """Repeatedly sends a body byte by byte until the server refuses it."""
    while True:
        async with _connected(port) as (reader, writer):
            sending = asyncio.create_task(_write_slowly(writer, message))
            try:
                status, content, _ = await answer(reader)
            finally:
                sending.cancel()
            _note(tally, Bad("sent slowly", message, 408), status, content, 0.0)


async def _write_slowly(writer: asyncio.StreamWriter, message: bytes) -> None:
    head, end, body = message.partition(b"\r\n\r\n")
    writer.write(head + end)
    for i in range(len(body)):
        writer.write(body[i : i + 1])
        await asyncio.sleep(_BYTE_S)


async def send_too_much(port: int, tally: Tally) -> None:
    """Sends a file above the size limit every second."""
    request = too_large()
    while True:
        client = Client(port)
        try:
            _note(tally, request, *(await client.ask(request.message)), 0.0)
        except (OSError, EOFError) as error:
            _note(tally, request, 0, repr(error).encode(), 0.0)
        client.close()
        await asyncio.sleep(4 * _PAUSE_S)


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[Streams]:
    """A connection that is aborted at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def start(port: int, n: int, good: Sequence[Good], bad: Sequence[Bad], tally: Tally) -> tuple[list, list]:
    """Starts `n` good clients and four faulty ones; returns the tasks of the good and of the faulty ones."""
    requests = _mixed(good, bad)  # all good clients draw from it
    message = good[0].message
    faulty = [
        disconnect_early(port, message[: len(message) // 2], tally, "left while sending"),
        disconnect_early(port, message, tally, "left while waiting"),
        send_slowly(port, message, tally),
        send_too_much(port, tally),
    ]
    good_clients = [send_requests(port, requests, tally) for _ in range(n)]
    return [asyncio.create_task(client) for client in good_clients], [asyncio.create_task(client) for client in faulty]


def _mixed(good: Sequence[Good], bad: Sequence[Bad]) -> Iterator[Good | Bad]:
    goods, bads = itertools.cycle(good), itertools.cycle(bad)
    for i in itertools.count(1):
        yield next(goods) if i % _EVERY else next(bads)
