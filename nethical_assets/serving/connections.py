"""One connection of the gateway: what uvicorn's own leaves open.

What belongs here: limits to how long the head of a request, and a client that does not read its answer, may take, the
shape of the answer to what is no HTTP, and taking a whole body and sending a whole answer in one step each. What does
not: requests whose head is there (``endpoints``).

ASGI hands a body and an answer over in messages: a task that waits for what is there already, and a system call for
the head of an answer and another one for its body. Where all is at hand the connection, which a request finds in its
scope, does it in one step; where it is not it says so, and the messages do it.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from nethical_assets.serving.payloads import JSON
from nethical_assets.serving.refusals import RefusedError, malformed

EXTENSION = "nethical.connection"
"""Under which name a scope's ``extensions`` have the connection; another server has none."""


def connections(head_seconds: float) -> type[Connection]:
    """The kind of connection of one server, which makes them itself."""
    return type("Connection", (Connection,), {"head_seconds": head_seconds})


class Connection(HttpToolsProtocol):
    """A connection whose requests have to begin within ``head_seconds``, and their heads to be there within as many."""

    head_seconds: float
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _head_begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more, and no ring is left of the connection, its requests and their scopes: garbage
        is collected seldom, and a body may be part of it."""
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)
        # Of a connection that was reset too.
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        self.cycle = self.scope = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """What is received between requests and begins none leaves nothing that is waited for: the next one is."""
        super().data_received(data)
        if self._head_timer is not None or self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if self._head_begun or (idle and self.timeout_keep_alive_task is None):
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
        """A request has begun: its head has to follow. It is waited for where it is not in the same bytes."""
        super().on_message_begin()
        self._head_begun = True
        self.scope["extensions"] = {EXTENSION: self}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_begun = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """A request is answered: what it was refused without reading is not kept until the next one."""
        if self.cycle is not None and self.cycle.response_complete:
            self.cycle.body.clear()
        super().on_response_complete()

    def body_at_hand(self, scope: MutableMapping[str, Any]) -> bytes | None:
        """The body of the request with this scope where all of it is there and was not taken yet, else None."""
        cycle = self.cycle
        if cycle is None or cycle.scope is not scope or cycle.more_body or cycle.disconnected:
            return None
        if cycle.waiting_for_100_continue or not cycle.message_event.is_set():
            return None
        cycle.message_event.clear()
        body, cycle.body = bytes(cycle.body), bytearray()
        self.flow.resume_reading()
        return body

    def answered_at_once(self, scope: MutableMapping[str, Any], status: int, head: bytes, body: bytes) -> bool:
        """Send a whole answer to the request with this scope, unless it is a matter of more than writing it: to a
        client that reads slowly, is gone, or is told that the connection ends.

        Args:
            head: the header fields, a line each, of which one is the length of ``body``.
        """
        cycle = self.cycle
        if cycle is None or cycle.scope is not scope or cycle.response_started or cycle.disconnected:
            return False
        if self.flow.write_paused or not cycle.keep_alive or scope["method"] == "HEAD":
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        content = [STATUS_LINE[status]]
        for name, value in cycle.default_headers:
            content += (name, b": ", value, b"\r\n")
        content += (head, b"\r\n", body)
        self.transport.write(b"".join(content))
        cycle.message_event.set()
        cycle.on_response()
        return True

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
