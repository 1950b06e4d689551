"""One connection of the gateway: what uvicorn's own leaves open.

What belongs here: limits to how long the head of a request, and a client that does not read its answer, may take, and
the shape of the answer to what is no HTTP.
What does not: requests whose head is there (``endpoints``).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from nethical_assets.serving.payloads import JSON
from nethical_assets.serving.refusals import RefusedError, malformed


def connections(head_seconds: float) -> type[Connection]:
    """The kind of connection of one server, which makes them itself."""
    return type("Connection", (Connection,), {"head_seconds": head_seconds})


class Connection(HttpToolsProtocol):
    """A connection whose requests have to begin within ``head_seconds``, and their heads to be there within as many."""

    head_seconds: float
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """What is received between requests and begins none leaves nothing that is waited for: the next one is."""
        super().data_received(data)
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self._wait_for_head()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing was asked for long: the connection ends, also where its last answer is still not read."""
        super().timeout_keep_alive_handler()
        self._watch_reading()

    def pause_writing(self) -> None:
        """The client reads slower than it is answered: it has to go on reading."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """It has read most of it."""
        self._stop_watching()
        super().resume_writing()

    def on_message_begin(self) -> None:
        """A request has begun: its head has to follow."""
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_waiting()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the one shape of errors."""
        self._refuse(malformed("not an HTTP request"))

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        reason = f"the head of the request did not arrive within {self.head_seconds:g} seconds"
        self._refuse(RefusedError(408, "timeout", reason))

    def _watch_reading(self) -> None:
        if self._unread_timer is None:
            unread = self.transport.get_write_buffer_size()
            self._unread_timer = self.loop.call_later(self.head_seconds, self._is_read, unread)

    def _stop_watching(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _is_read(self, before: int) -> None:
        """End the connection where nothing of an answer was read: what is kept for a client has an end."""
        self._unread_timer = None
        unread = self.transport.get_write_buffer_size()
        if unread >= before > 0:
            self.transport.abort()
        elif unread:
            self._watch_reading()

    def _refuse(self, refused: RefusedError) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # The answer would be taken for that of the request before, which is the last one then.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        body = refused.body()
        head = [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        content: list[Any] = [STATUS_LINE[refused.status]]
        for name, value in (*self.server_state.default_headers, *head):
            content += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*content, b"\r\n", body]))
        self.transport.close()
