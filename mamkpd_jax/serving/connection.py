"""HTTP/1.1 connections with timeouts for slow clients."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def connection_type(timeout_s: float) -> type[H11Protocol]:
    """A type of uvicorn connection that is closed if a client is slower than `timeout_s`.

    The timeout applies to a request's header, to the rest of a refused request, and to reading a response: unread
    responses would fill the memory. uvicorn itself limits only the time between requests. The application limits the
    time of receiving a picture.
    """

    class Connection(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _write_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._timer = self.loop.call_later(timeout_s, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            is_owed = self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE
            if is_owed and self._timer is None:
                self._timer = self.loop.call_later(timeout_s, self.transport.close)
            elif not is_owed:
                self._stop_timer()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._write_timer = self.loop.call_later(timeout_s, self.transport.abort)

        def resume_writing(self) -> None:
            if self._write_timer is not None:
                self._write_timer.cancel()
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            self.resume_writing()
            super().connection_lost(exc)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Connection
