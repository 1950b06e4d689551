"""A small program that has a terminal while a command is at work: it draws the line that moves, and lines above it.

What belongs here: drawing. What does not: what is said, and how this program is started (``status_line``).

It is a process of its own, because a thread does not run while a library computes without letting others (importing,
collecting garbage, numerical code): that takes seconds where many processes want the same processor, and the clock
would stand still. It imports a few modules of the standard library and nothing else, and starts within hundredths of a
second. Where no process can be started, or this one was killed, the same code runs in a thread.

Carriage return and "erase to the end of the line" are all it needs, and blanks where a terminal calls itself dumb: the
cursor stays visible, and a process that is killed leaves nothing to be repaired.

Lines of JSON tell it what to do. ``{"since": SECONDS, "head": TEXT, "items": [TEXT, ...]}``: what the moving line says
from now on, behind a clock that shows for how long it has been going on. ``{"line": TEXT}``: a line above it.
``{"end": true}``: take the moving line away. Where the pipe ends without it, the process that was served was killed,
and nothing more is drawn, since a shell may have gone on below. What arrives as plain text by the other pipe, from
whoever would have written to the terminal, is written above too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Sequence

_SECONDS_TO_REDRAW = 0.2
_SECONDS_FOR_THE_REST = 0.5
_WIDTH = 80
"""Of a terminal that does not know its own."""
_CHUNK = 65536
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


def headed(seconds: float, head: str) -> str:
    """What the line that moves begins with."""
    return f"{clock(seconds):>5}  {head}" if head else f"{clock(seconds):>5}"


def columns_of(terminal: int) -> int:
    """How many columns a terminal has now."""
    try:
        columns = os.get_terminal_size(terminal).columns
    except OSError:
        columns = 0
    return columns or _WIDTH


class Drawing:
    """Draws on ``terminal`` what arrives by the pipes ``orders`` and ``texts``, until told to end.

    Args:
        encoding: of the terminal; what it does not have is replaced.
        parent: the process that is served; this ends when that is gone. None where it is this one.
    """

    def __init__(self, orders: int, texts: int, terminal: int, encoding: str, parent: int | None) -> None:
        self._orders, self._texts, self._terminal = orders, texts, terminal
        self._encoding = encoding
        self._parent = parent
        self._order, self._text = b"", b""
        self._since = 0.0
        self._head = ""
        self._items: list[str] = []
        self._told = False
        self._ended = False
        self._shown = ""

    def run(self) -> None:
        """Draw until told to end."""
        while not self._ended:
            ready, _, _ = select.select([self._orders, self._texts], [], [], _SECONDS_TO_REDRAW)
            if self._parent is not None and os.getppid() != self._parent:
                return
            if self._texts in ready:
                self._take_text()
            if self._orders in ready and not self._take_orders():
                return
            self._draw()
        deadline = time.monotonic() + _SECONDS_FOR_THE_REST
        while select.select([self._texts], [], [], 0)[0] and self._take_text() and time.monotonic() < deadline:
            pass
        if self._text:
            self._above(_last_state(self._text))
        self._erase()

    def _take_text(self) -> bool:
        """Write what others wrote, as whole lines; whether there may be more."""
        found = os.read(self._texts, _CHUNK)
        *lines, self._text = (self._text + found).split(b"\n")
        for line in lines:
            self._above(_last_state(line))
        return bool(found)

    def _take_orders(self) -> bool:
        """Do what was told; whether somebody is there who tells."""
        found = os.read(self._orders, _CHUNK)
        *lines, self._order = (self._order + found).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "end" in order:
                self._ended = True
            elif "line" in order:
                self._above(order["line"])
            else:
                self._since = time.monotonic() - order["since"]
                self._head, self._items, self._told = order["head"], order["items"], True
        return bool(found)

    def _above(self, lines: str) -> None:
        self._erase()
        self._write(f"{lines}\n")

    def _draw(self) -> None:
        if not self._told or self._ended:
            return
        # But the last column: a line that fills it would begin the next one.
        text = fit(headed(time.monotonic() - self._since, self._head), self._items, columns_of(self._terminal) - 1)
        if text != self._shown:
            self._write(f"\r{self._blank()}{text}")
            self._shown = text

    def _erase(self) -> None:
        if self._shown:
            self._write(f"\r{self._blank()}")
            self._shown = ""

    def _blank(self) -> str:
        """What makes the line blank from its beginning, and stays there."""
        if os.environ.get("TERM", "") in _DUMB:
            return f"{' ' * len(self._shown)}\r"
        return _ERASE

    def _write(self, text: str) -> None:
        left = text.encode(self._encoding, "replace")
        # A terminal that was closed takes nothing: the command that is served goes on.
        with contextlib.suppress(OSError):
            while left:
                left = left[os.write(self._terminal, left) :]


def _last_state(line: bytes) -> str:
    """What a line shows in the end whose writer went back to its beginning, as progress bars do."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")


def main() -> None:
    """Serve the process that started this one: ``ORDERS TEXTS TERMINAL ENCODING PARENT``."""
    orders, texts, terminal = map(int, sys.argv[1:4])
    Drawing(orders, texts, terminal, sys.argv[4], int(sys.argv[5])).run()


if __name__ == "__main__":
    main()
