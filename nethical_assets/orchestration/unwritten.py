"""Keeping Dagster's own words about events that could not be written from standard error.

What belongs here: holding them back, and saying them after all where nobody else tells of the failure. What does not:
what is told instead (``instance``, and the run that hears of it from its worker).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

_WORDS = (
    "Exception while writing logger call to event log",
    "Exception while storing event batch",
    "Falling back to storing multiple single-event storage requests",
)
"""Dagster writes each of them in one piece, with the statement that failed, and then raises the error all the same."""


class _Screened:
    """A stream that keeps some of what is written to it to itself."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.held: list[str] = []

    def write(self, text: str) -> int:
        if text.startswith(_WORDS):
            self.held.append(text)
            return len(text)
        return int(self._stream.write(text) or 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def told_once() -> Iterator[None]:
    """Say what Dagster says of events that could not be written only where the context ends without that error."""
    with held_back() as held:
        yield
    for text in held:
        sys.stderr.write(text)


@contextlib.contextmanager
def held_back() -> Iterator[list[str]]:
    """Keep what Dagster says of events that could not be written, for whoever opens the context."""
    screened: Any = _Screened(sys.stderr)
    with contextlib.redirect_stderr(screened):
        yield screened.held
