"""Progress of a cycle: which stage of which family is being worked on.

What belongs here: telling observers in this process, also of what happens in another one. What does not: how it is
shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

Event = Literal["started", "finished", "failed", "interrupted"]
Observer = Callable[[Event, str, str], None]
_observers: list[Observer] = []


@contextlib.contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Call ``observer(event, stage, subject)`` for every stage of this process while the context is open."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


@contextlib.contextmanager
def stage(name: str, subject: str) -> Iterator[None]:
    """Announce that a stage is worked on, and how it ended."""
    announce("started", name, subject)
    try:
        yield
    except BaseException as error:
        announce("failed" if isinstance(error, Exception) else "interrupted", name, subject)
        raise
    announce("finished", name, subject)


def announce(event: Event, name: str, subject: str) -> None:
    """Tell the observers of this process what happened to a stage."""
    for observer in tuple(_observers):
        observer(event, name, subject)
