"""What the gateway does not do, and how it says so: one shape for every error.

What belongs here: the refusal, its JSON form, and those that several routes have in common. What does not: finding out
that something has to be refused.

A refusal names the field and the reason, never a value: what a client sent is neither repeated nor logged.
"""

from __future__ import annotations

import msgspec

_LONGEST_FIELD = 120


class ErrorDetail(msgspec.Struct, frozen=True):
    """``code``: one word for programs; ``field``: what it is about, empty where it is about the request as a whole;
    ``reason``: one line for people."""

    code: str
    field: str
    reason: str


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every answer that is not 2xx."""

    error: ErrorDetail


class RefusedError(Exception):
    """A request is not answered.

    Args:
        status: the HTTP status.
        code, reason, field: see ``ErrorDetail``.
        headers: of the answer, beside its type and length.
        closes: whether the connection ends, because the rest of the request is not waited for.
    """

    def __init__(
        self,
        status: int,
        code: str,
        reason: str,
        *,
        field: str = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        closes: bool = False,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.detail = ErrorDetail(code, shortened(field), reason)
        self.headers = (*headers, (b"connection", b"close")) if closes else headers

    def body(self) -> bytes:
        """The JSON document."""
        return msgspec.json.encode(ErrorAnswer(self.detail))


def shortened(field: str) -> str:
    """The name of a field, not longer than a line."""
    return field if len(field) <= _LONGEST_FIELD else f"{field[:_LONGEST_FIELD]}..."


def malformed(reason: str) -> RefusedError:
    """400: the body is not what its type says."""
    return RefusedError(400, "malformed", reason)


def invalid(field: str, reason: str) -> RefusedError:
    """422: a field is not what it should be."""
    return RefusedError(422, "invalid", reason, field=field)


def too_large(reason: str, *, closes: bool = False) -> RefusedError:
    """413: more than one request may hold."""
    return RefusedError(413, "too_large", reason, closes=closes)


def busy(reason: str, retry_after_seconds: int, *, closes: bool = False) -> RefusedError:
    """503: more is asked at once than can be answered; nothing of the request was done."""
    return unavailable("busy", reason, retry_after_seconds, closes=closes)


def unavailable(code: str, reason: str, retry_after_seconds: int, *, closes: bool = False) -> RefusedError:
    """503: it cannot be answered now; nothing of the request was done."""
    headers = ((b"retry-after", b"%d" % retry_after_seconds),)
    return RefusedError(503, code, reason, headers=headers, closes=closes)


def late(seconds: float, retry_after_seconds: int) -> RefusedError:
    """503: it took too long; nothing of the request is in the log."""
    return unavailable("late", f"the request was not answered within {seconds:g} seconds", retry_after_seconds)


def unexpected() -> RefusedError:
    """500: a fault of the gateway, told in its log by kind and place."""
    return RefusedError(500, "unexpected", "the gateway failed; its log says where")
