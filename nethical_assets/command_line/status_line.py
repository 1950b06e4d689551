"""The last line of a terminal, redrawn while something goes on: a clock that moves, and what is being done.

What belongs here: telling what that line says, and keeping it apart from whatever else is written meanwhile, by
whichever process or library. What does not: drawing it (``drawing``), or deciding what it says.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from nethical_assets.command_line import drawing
from nethical_assets.command_line.drawing import Drawing, columns_of, headed
from nethical_assets.command_line.output import broken
from nethical_assets.command_line.streams import outliving

_SECONDS_TO_LOOK = 0.2
_SECONDS_TO_STOP = 2.0
_STREAMS = (1, 2)
Said = tuple[str, Sequence[str]]
"""What the line says behind its clock: always the first, and as many of the others as have room."""


@contextlib.contextmanager
def working(what: str) -> Iterator[StatusLine]:
    """Show on a terminal for how long ``what`` has been going on; lines are written through what it yields."""
    status = StatusLine(lambda: ("", [what]))
    with status.shown():
        yield status


class StatusLine:
    """Writes whole lines to standard error, and on a terminal keeps a line below them up to date.

    Args:
        said: what the line says behind its clock; asked several times a second, in a thread.
        seconds_between_lines: after how long without a word that is said as a line of its own where there is no
            terminal; never when not given.
    """

    def __init__(self, said: Callable[[], Said], seconds_between_lines: float | None = None) -> None:
        self._said = said
        self._seconds_between_lines = seconds_between_lines
        self._started = time.monotonic()
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._stream: TextIO = sys.stderr
        self._terminal: _Terminal | None = None
        self._last_line = time.monotonic()

    @property
    def on_terminal(self) -> bool:
        """Whether there is a line that moves."""
        return self._terminal is not None

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the line while the context is open, on what standard error is now: Dagster puts files in its place."""
        with contextlib.ExitStack() as stack:
            try:
                descriptor = os.dup(sys.stderr.fileno())
            except (OSError, ValueError):  # a stream of a test
                self._stream = sys.stderr
            else:
                stack.callback(os.close, descriptor)
                self._stream = outliving(descriptor, sys.stderr.encoding)
                if os.isatty(descriptor):
                    self._terminal = _Terminal(descriptor, self._stream.encoding)
                    self._terminal.show(self._elapsed(), self._said())
                    stack.enter_context(self._terminal.taken())
            thread = threading.Thread(target=self._keep_up, daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._stopped.set()
                thread.join(_SECONDS_TO_STOP)

    def print(self, line: str) -> None:
        """Write a line of its own, on a terminal broken between words."""
        if self._terminal is not None:
            self._terminal.show(self._elapsed(), self._said())
            self._terminal.print(line)
            return
        with self._lock:
            self._stream.write(f"{line}\n")
            self._stream.flush()
            self._last_line = time.monotonic()

    def heading(self) -> str:
        """What the line begins with now."""
        return headed(self._elapsed(), self._said()[0])

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _keep_up(self) -> None:
        while not self._stopped.wait(_SECONDS_TO_LOOK):
            limit = self._seconds_between_lines
            if self._terminal is not None:
                self._terminal.show(self._elapsed(), self._said())
            elif limit is not None and time.monotonic() - self._last_line > limit:
                self.print(drawing.fit(self.heading(), self._said()[1], sys.maxsize))


class _Terminal:
    """A terminal that is drawn on by ``drawing``, in a process of its own, or in a thread where there is none.

    Whatever is written to the terminal by others, here and in processes that are started here, arrives as lines above
    the one that moves.
    """

    def __init__(self, descriptor: int, encoding: str) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._lock = threading.RLock()
        self._shown: Said | None = None
        self._first = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._orders: tuple[int, int] | None = None
        self._texts = 0

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Have the terminal drawn on while the context is open."""
        self._texts, writes = os.pipe()
        self._start()
        _flush()
        kept = {number: os.dup(number) for number in _STREAMS if os.isatty(number)}
        try:
            for number in kept:
                os.dup2(writes, number)
            yield
        finally:
            _flush()
            for number, descriptor in kept.items():
                os.dup2(descriptor, number)
            self._stop()
            for descriptor in (self._texts, writes, *kept.values()):
                os.close(descriptor)

    def show(self, elapsed: float, said: Said) -> None:
        """Have the line say something else from now on; ``elapsed`` seconds are on its clock."""
        with self._lock:
            head, items = said
            if self._shown != (head, list(items)):
                self._shown = (head, list(items))
                self._tell({"since": elapsed, "head": head, "items": list(items)}, keep=True)
            elif self._process is not None and self._process.poll() is not None:
                self._draw_here()

    def print(self, line: str) -> None:
        """Write a line above, broken between words."""
        self._tell({"line": "\n".join(broken(line, columns_of(self._descriptor)))})

    def _tell(self, order: dict[str, object], *, keep: bool = False) -> None:
        with self._lock:
            told = json.dumps(order).encode() + b"\n"
            if keep:
                self._first = told
            if self._orders is None:
                return
            try:
                _write_all(self._orders[1], told)
            except BrokenPipeError:  # it was killed
                self._draw_here()
                if self._orders is not None and not keep:
                    _write_all(self._orders[1], told)

    def _start(self) -> None:
        reads, writes = os.pipe()
        self._orders = (reads, writes)
        arguments = [str(one) for one in (reads, self._texts, self._descriptor, self._encoding, os.getpid())]
        try:
            # Ctrl-C is for the command: the terminal is drawn on until that has ended.
            with _held_back():
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", drawing.__file__, *arguments],
                    pass_fds=(reads, self._texts, self._descriptor),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
        except OSError:  # no process can be started
            self._begin_thread(reads)
        else:
            os.close(reads)
        _write_all(writes, self._first)

    def _draw_here(self) -> None:
        """Go on in a thread: the process is gone."""
        if self._process is not None and self._orders is not None:
            self._process.wait()
            self._process = None
            os.close(self._orders[1])
            self._orders = os.pipe()
            self._begin_thread(self._orders[0])
            _write_all(self._orders[1], self._first)

    def _begin_thread(self, orders: int) -> None:
        here = Drawing(orders, self._texts, self._descriptor, self._encoding, None)

        def draw() -> None:
            here.run()
            os.close(orders)

        self._thread = threading.Thread(target=draw, daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        with self._lock:
            if self._orders is None:
                return
            self._tell({"end": True})
            writes, self._orders = self._orders[1], None
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process is not None:
                self._process.wait(_SECONDS_TO_STOP)
        if self._process is not None and self._process.poll() is None:  # the terminal takes nothing
            self._process.kill()
            self._process.wait()
        if self._thread is not None:
            self._thread.join(_SECONDS_TO_STOP)
        os.close(writes)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Start a process that never gets the signals which end a command; this one gets them afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
