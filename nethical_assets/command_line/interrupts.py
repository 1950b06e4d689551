"""How a command ends when it is told to: by Ctrl-C, by the system (SIGTERM), by a terminal that is closed (SIGHUP).

What belongs here: making the three of them one interruption, and its exit code. What does not: what is said then
(``app``), or what the interrupted command leaves behind (whoever did it).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP
_received: list[int] = []
_ignored: set[int] = set()


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn each of the signals into ``KeyboardInterrupt``, unless it was ignored from the start, as by ``nohup``.

    Only for the main thread.
    """
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    _received.clear()
    _ignored.clear()
    _ignored.update(each for each in _SIGNALS if before[each] is signal.SIG_IGN)
    # Dagster gives SIGTERM the handler of SIGINT. Where a shell started the command in the background, that one is
    # ignored, and nothing but SIGKILL would end it.
    heard = [each for each in _SIGNALS if each not in _ignored or each == signal.SIGINT]
    for each in heard:
        signal.signal(each, _interrupt)
    try:
        yield
    finally:
        for each in heard:
            signal.signal(each, before[each])


def exit_code() -> int:
    """128 and the number of the signal that was received last, as shells count; that of Ctrl-C when none was."""
    return 128 + (_received[-1] if _received else signal.SIGINT)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if number in _ignored:
        return
    _received.append(number)
    elsewhere = signal.getsignal(signal.SIGINT)
    if number != signal.SIGINT and callable(elsewhere) and elsewhere is not _interrupt:
        # Dagster takes Ctrl-C and SIGTERM to itself while it runs a step; a closed terminal must end it as they do.
        signal.raise_signal(signal.SIGINT)
    else:
        raise KeyboardInterrupt
