"""The last line of a terminal, redrawn while something goes on: a clock that moves, and what is being done.

What belongs here: drawing that line, and keeping it apart from whatever else is written meanwhile, by whichever process
or library. What does not: what it says.

Carriage return and "erase to the end of the line" are all it needs, and blanks where a terminal calls itself dumb: the
cursor stays visible, and a process that is killed leaves nothing to be repaired.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from nethical_assets.command_line.output import broken
from nethical_assets.command_line.streams import outliving

_SECONDS_TO_REDRAW = 0.2
_SECONDS_TO_STOP = 2.0
_WIDTH = 80
"""Of a terminal that does not know its own."""
_STREAMS = (1, 2)
_ERASE = "\x1b[K"
_DUMB = ("", "dumb", "unknown")


def clock(seconds: float) -> str:
    """``0:31``, ``12:05``, ``1:02:09``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def fit(head: str, items: Sequence[str], width: int) -> str:
    """``head`` and as many whole ``items`` as have room in ``width`` columns, and how many have none."""
    shown = head
    for number, item in enumerate(items):
        left = len(items) - number - 1
        longer = f"{shown}{', ' if number else '  '}{item}"
        if len(longer) + (len(f" +{left}") if left else 0) > width:
            more = f"{shown}  +{left + 1}" if number == 0 else f"{shown} +{left + 1}"
            return more if len(more) <= width else shown
        shown = longer
    return shown


@contextlib.contextmanager
def working(what: str) -> Iterator[StatusLine]:
    """Show on a terminal for how long ``what`` has been going on; lines are written through what it yields."""
    started = time.monotonic()
    status = StatusLine(lambda width: fit(f"{clock(time.monotonic() - started):>5}", [what], width))
    with status.shown():
        yield status


class StatusLine:
    """Writes whole lines to standard error, and on a terminal keeps a line below them up to date.

    Args:
        text: what the line says, in at most so many columns; asked several times a second, in a thread.
        seconds_between_lines: after how long without a word that text is said as a line of its own where there is no
            terminal; never when not given.
    """

    def __init__(self, text: Callable[[int], str], seconds_between_lines: float | None = None) -> None:
        self._text = text
        self._seconds_between_lines = seconds_between_lines
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._stream: TextIO = sys.stderr
        self._shown = ""
        self._said = time.monotonic()
        self.on_terminal = False

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
                self.on_terminal = os.isatty(descriptor)
                if self.on_terminal:
                    stack.enter_context(self._lines_of_others())
            thread = threading.Thread(target=self._keep_up, daemon=True)
            self._draw()
            thread.start()
            try:
                yield
            finally:
                self._stopped.set()
                thread.join(_SECONDS_TO_STOP)
                self._erase()

    def print(self, line: str) -> None:
        """Write a line of its own, on a terminal broken between words."""
        self._write("\n".join(broken(line, self._width() + 1)) if self.on_terminal else line)

    def _write(self, lines: str) -> None:
        with self._lock:
            self._erase()
            self._stream.write(f"{lines}\n")
            self._stream.flush()
            self._said = time.monotonic()
            self._draw()

    def _keep_up(self) -> None:
        while not self._stopped.wait(_SECONDS_TO_REDRAW):
            limit = self._seconds_between_lines
            if self.on_terminal:
                self._draw()
            elif limit is not None and time.monotonic() - self._said > limit:
                self.print(self._text(sys.maxsize))

    def _draw(self) -> None:
        if not self.on_terminal:
            return
        with self._lock:
            text = "" if self._stopped.is_set() else self._text(self._width())
            if text != self._shown:
                self._stream.write(f"\r{self._blank()}{text}")
                self._stream.flush()
                self._shown = text

    def _erase(self) -> None:
        with self._lock:
            if self._shown:
                self._stream.write(f"\r{self._blank()}")
                self._stream.flush()
                self._shown = ""

    def _blank(self) -> str:
        """What makes the line blank from its beginning, and stays there."""
        if os.environ.get("TERM", "") in _DUMB:
            return f"{' ' * len(self._shown)}\r"
        return _ERASE

    def _width(self) -> int:
        """The columns of the terminal as it is now, but the last: a line that fills it would begin the next one."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except OSError:
            columns = 0
        return (columns or _WIDTH) - 1

    @contextlib.contextmanager
    def _lines_of_others(self) -> Iterator[None]:
        """Have whatever is written to the terminal by others, here and in processes that are started here, arrive as
        lines above this one."""
        reads, writes = os.pipe()
        stop, stopped = os.pipe()
        _flush()
        kept = {number: os.dup(number) for number in _STREAMS if os.isatty(number)}
        reader = threading.Thread(target=self._relay, args=(reads, stop), daemon=True)
        try:
            for number in kept:
                os.dup2(writes, number)
            reader.start()
            yield
        finally:
            _flush()
            for number, descriptor in kept.items():
                os.dup2(descriptor, number)
            os.write(stopped, b".")
            if reader.ident is not None:
                reader.join(_SECONDS_TO_STOP)
            for descriptor in (reads, writes, stop, stopped, *kept.values()):
                os.close(descriptor)

    def _relay(self, reads: int, stop: int) -> None:
        rest = b""
        while True:
            ready, _, _ = select.select([reads, stop], [], [])
            if reads not in ready:
                break
            *lines, rest = (rest + os.read(reads, 65536)).split(b"\n")
            for line in lines:
                self._write(_last_state(line))
        if rest:
            self._write(_last_state(rest))


def _last_state(line: bytes) -> str:
    """What a line shows in the end whose writer went back to its beginning, as progress bars do."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
