"""How a command ends when it is told to: by Ctrl-C, by the system (SIGTERM), by a terminal that is closed (SIGHUP).

What belongs here: making the three of them one interruption, at any moment of the process, and its exit code. What does
not: what is said then (``app``), or what the interrupted command leaves behind (whoever did it).

Three moments: while the program is imported nothing has begun, and a signal ends it at once (``end_at_once``); then a
command is interrupted by ``KeyboardInterrupt``, and puts its work in order (``interruptible``); when that has happened,
no further signal changes how it ends (``ending``). What was ignored from the start, as by ``nohup``, stays so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP
_SECONDS_TO_BE_RAISED_AGAIN = 0.05
_noted: list[int] = []
"""What Python itself noted, in order; without that, what the handler of this module saw."""
_seen: list[int] = []
_ignored: set[int] = set()
_told_by_python: list[int] = []
"""The pipe into which Python writes the number of each signal, whosever handler is in place: none or one."""


def end_at_once() -> None:
    """From now on each of the signals ends the process at once, in one line and with its exit code."""
    for each in _SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, _end)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn each of the signals into ``KeyboardInterrupt``, unless it was ignored from the start, as by ``nohup``.

    Only for the main thread.
    """
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    _noted.clear()
    _seen.clear()
    _ignored.clear()
    _ignored.update(each for each in _SIGNALS if before[each] is signal.SIG_IGN)
    # Dagster takes Ctrl-C and SIGTERM to itself while it runs a step, also where a shell started the command in the
    # background and so has it ignore the first: that one is kept away from it.
    heard = [each for each in _SIGNALS if each not in _ignored or each == signal.SIGINT]
    with _remembered(), _blocked(_ignored & {signal.SIGINT}), _raised_again():
        for each in heard:
            signal.signal(each, _interrupt)
        try:
            yield
        finally:
            for each in heard:
                signal.signal(each, before[each])


def ending() -> None:
    """The command has been interrupted and is being ended: no further signal disturbs that."""
    first_signal()
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def first_signal() -> int | None:
    """The first of the signals that was received since ``interruptible``, whoever took it; None when none was."""
    for pipe in _told_by_python:
        with contextlib.suppress(BlockingIOError):
            _noted.extend(os.read(pipe, 4096))
    heard = set(_SIGNALS) - _ignored
    return next((number for number in (*_noted, *_seen) if number in heard), None)


def exit_code() -> int:
    """128 and the number of the signal that was received first, as shells count; that of Ctrl-C when none was."""
    return 128 + (first_signal() or signal.SIGINT)


def _end(number: int, frame: FrameType | None) -> None:
    if first_signal() is not None:  # the command was interrupted, and has said so
        os._exit(exit_code())
    with contextlib.suppress(OSError):
        os.write(2, b"nethical: interrupted\n")
    os._exit(128 + number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if number in _ignored:
        return
    _seen.append(number)
    _quieten_logging()
    elsewhere = signal.getsignal(signal.SIGINT)
    if number != signal.SIGINT and callable(elsewhere) and elsewhere is not _interrupt:
        # Dagster takes Ctrl-C and SIGTERM to itself while it runs a step; a closed terminal must end it as they do.
        elsewhere(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


def _quieten_logging() -> None:
    """Libraries that are interrupted log tracebacks of how they close what they had open, where nobody reads logs."""
    if "logging" in sys.modules:
        import logging

        logging.lastResort = logging.NullHandler()


@contextmanager
def _remembered() -> Iterator[None]:
    """Have Python itself note every signal: what took it may not tell which one it was."""
    if not hasattr(os, "set_blocking") or sys.platform == "win32":
        yield
        return
    reads, writes = os.pipe()
    os.set_blocking(reads, False)
    os.set_blocking(writes, False)
    before = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    _told_by_python.append(reads)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        first_signal()
        _told_by_python.remove(reads)
        os.close(reads)
        os.close(writes)


@contextmanager
def _blocked(signals: set[int]) -> Iterator[None]:
    """Keep signals from being delivered, to this process and those it starts, whatever handler is put in place."""
    if not signals or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)  # what waits is dropped
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _raised_again() -> Iterator[None]:
    """An interruption that happened where Python drops exceptions (``__del__``, weak references) is raised again."""
    before = sys.unraisablehook

    def told(lost: sys.UnraisableHookArgs) -> None:
        number = first_signal()
        if number is None or isinstance(lost.exc_value, Exception):
            before(lost)
            return
        main = threading.main_thread().ident
        again = threading.Timer(_SECONDS_TO_BE_RAISED_AGAIN, signal.pthread_kill, (main, number))
        again.daemon = True
        again.start()

    sys.unraisablehook = told
    try:
        yield
    finally:
        sys.unraisablehook = before
