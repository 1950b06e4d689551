"""One route as an ASGI application: what all routes have in common.

What belongs here: reading a request within its limits, sending the answer, counting it, and turning whatever goes wrong
into the one shape of errors. What does not: what a route does (``gateway``), or which there are (``application``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.types import Receive, Scope, Send

from nethical_assets.core.ground.unexpected import describe_unexpected
from nethical_assets.serving.connections import EXTENSION, Connection
from nethical_assets.serving.metrics import GatewayMetrics
from nethical_assets.serving.payloads import JSON
from nethical_assets.serving.refusals import RefusedError, busy, invalid, malformed, too_large, unexpected

_LOGGER = logging.getLogger(__name__)
LARGE_BYTES = 1 << 16
"""A larger body keeps the event loop for milliseconds: it is read and scored in a thread."""
LARGE_TEXT_BYTES = 1 << 12
"""A text in a larger body is: it is looked through for what has to be masked, as it is and decoded."""
_LONGEST_NAME = 200
_SHOWN_AFTER_SECONDS = 0.01
"""How old the metric of the requests at work may be: to set it twice a request costs more than to count one."""
_CLIENT_LEFT = 499
"""Counted where the client was gone before its answer; nothing is sent."""


class ClientLeftError(Exception):
    """The client is gone; there is nobody to answer."""


@dataclass(frozen=True)
class Limits:
    """What one worker takes: bytes of a body and of all bodies at once, seconds for one to arrive, requests at once,
    and what a refused client is told to wait."""

    body_bytes: int
    bytes_in_flight: int
    body_seconds: float
    in_flight: int
    retry_after_seconds: int


class Reply(NamedTuple):
    """What is sent."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass
class InFlight:
    """What a worker is at: requests, and the bytes of their bodies that it holds; and whether the metric of them is
    about to be set."""

    count: int = 0
    bytes: int = 0
    is_shown_soon: bool = False


@dataclass
class Call:
    """One request. ``held`` of its bytes are counted in ``in_flight``.

    ``family`` is set by its handler once it is known to be registered: it is counted under it. ``read_at``: when its
    body was there (``time.monotonic``).
    """

    scope: Scope
    receive: Receive
    limits: Limits
    route: str
    started_ns: int
    in_flight: InFlight
    family: str = ""
    held: int = 0
    read_at: float = field(default_factory=time.monotonic)
    _headers: dict[bytes, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._headers = dict(self.scope["headers"])

    def header(self, name: bytes) -> str | None:
        """A header by its name in lower case."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def parameter(self, name: str) -> str:
        """A part of the path."""
        return str(self.scope["path_params"][name])

    def elapsed_us(self) -> int:
        """Microseconds since the request began."""
        return (time.perf_counter_ns() - self.started_ns) // 1000

    def name(self) -> str:
        """What the client calls the request: the header ``X-Request-Id``; empty where there is none. It is kept
        nowhere.

        Raises:
            RefusedError: 422, it is too long.
        """
        given = self.header(b"x-request-id") or ""
        if len(given) > _LONGEST_NAME:
            raise invalid("x-request-id", f"longer than {_LONGEST_NAME} characters")
        return given

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            RefusedError: 408, 413 or 415.
            RefusedError: 503, too much is held already for a body that is not small.
            ClientLeftError: the client is gone.
        """
        if self.header(b"content-encoding") not in (None, "identity"):
            raise RefusedError(415, "media_type", "send the body without an encoding", field="content-encoding")
        limit = self.limits.body_bytes
        declared = self.header(b"content-length")
        if declared is not None and (not declared.isdigit() or int(declared[:20]) > limit):
            raise too_large(f"a body has at most {limit} bytes", closes=True)
        connection = connection_of(self.scope)
        body = None if connection is None else connection.body_at_hand(self.scope)
        if body is not None:
            self._hold(len(body), len(body), limit)
        else:
            try:
                async with asyncio.timeout(self.limits.body_seconds):
                    body = await self._whole(limit)
            except TimeoutError:
                reason = f"the body did not arrive within {self.limits.body_seconds:g} seconds"
                raise RefusedError(408, "timeout", reason, closes=True) from None
        self.read_at = time.monotonic()
        return body

    async def _whole(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            part = message.get("body", b"")
            size += len(part)
            self._hold(len(part), size, limit)
            if not message.get("more_body", False):
                return part if not parts else b"".join((*parts, part))
            parts.append(part)

    def _hold(self, part: int, size: int, limit: int) -> None:
        """Count so many bytes more, of a body that has ``size`` by now."""
        self.held += part
        self.in_flight.bytes += part
        if size > limit:
            raise too_large(f"a body has at most {limit} bytes", closes=True)
        if size > LARGE_BYTES and self.in_flight.bytes > self.limits.bytes_in_flight:
            raise busy("too much is sent at once", self.limits.retry_after_seconds, closes=True)


Handler = Callable[[Call], Awaitable[Reply]]


class Endpoint:
    """A handler as an ASGI application. One that is ``bounded`` is refused where the worker is at too many requests."""

    def __init__(
        self,
        route: str,
        handler: Handler,
        limits: Limits,
        metrics: GatewayMetrics,
        in_flight: InFlight,
        *,
        bounded: bool,
    ) -> None:
        self._route = route
        self._handler = handler
        self._limits = limits
        self._metrics = metrics
        self._in_flight = in_flight
        self._bounded = bounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; only what cancels it is raised."""
        started = time.perf_counter_ns()
        call = Call(scope, receive, self._limits, self._route, started, self._in_flight)
        answer = await self._answer(call)
        status = _CLIENT_LEFT if answer is None else answer.status
        self._metrics.answered(self._route, call.family, status, (time.perf_counter_ns() - started) / 1e9)
        if answer is not None:
            await send_answer(scope, send, answer)

    async def _answer(self, call: Call) -> Reply | None:
        if not self._bounded:
            return await self._guarded(call)
        in_flight = self._in_flight
        if in_flight.count >= self._limits.in_flight:
            return self._refusal(call, busy("too many requests at once", self._limits.retry_after_seconds))
        in_flight.count += 1
        if not in_flight.is_shown_soon:
            in_flight.is_shown_soon = True
            asyncio.get_running_loop().call_later(_SHOWN_AFTER_SECONDS, self._show)
        try:
            return await self._guarded(call)
        finally:
            in_flight.count -= 1
            in_flight.bytes -= call.held

    def _show(self) -> None:
        """Tell the metric how many requests there are, and again until there are none."""
        in_flight = self._in_flight
        self._metrics.in_flight.set(in_flight.count)
        if in_flight.count:
            asyncio.get_running_loop().call_later(_SHOWN_AFTER_SECONDS, self._show)
        else:
            in_flight.is_shown_soon = False

    async def _guarded(self, call: Call) -> Reply | None:
        try:
            return await self._handler(call)
        except RefusedError as refused:
            return self._refusal(call, refused)
        except ClientLeftError:
            return None
        except UnicodeError:
            # A text that has no UTF-8, as a lone surrogate, came through all decoding.
            return self._refusal(call, malformed("a text is not valid Unicode"))
        except Exception as error:
            _LOGGER.error("%s: %s", self._route, describe_unexpected(error))
            return self._refusal(call, unexpected())

    def _refusal(self, call: Call, refused: RefusedError) -> Reply:
        self._metrics.refused(self._route, call.family, refused.detail.code)
        return Reply(refused.body(), refused.status, headers=refused.headers)


def connection_of(scope: Scope) -> Connection | None:
    """The connection that a request came by; None where the server is another one."""
    connection: Connection | None = scope.get("extensions", {}).get(EXTENSION)
    return connection


async def send_answer(scope: Scope, send: Send, answer: Reply) -> None:
    """Send a whole answer."""
    connection, content_type = connection_of(scope), answer.content_type.encode()
    if connection is not None and not answer.headers:
        head = b"content-type: %b\r\ncontent-length: %d\r\n" % (content_type, len(answer.body))
        if connection.answered_at_once(scope, answer.status, head, answer.body):
            return
    headers: list[Any] = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(answer.body)),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
