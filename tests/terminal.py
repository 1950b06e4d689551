"""A terminal for tests: a program in a pseudo terminal, and what a person sees of it.

What belongs here: starting a program on a pseudo terminal, and the few control characters and sequences that its output
may use. What does not: what is expected of it. Whatever is not known here fails the test that meets it.
"""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import itertools
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

_SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")
_BEGUN = re.compile(r"\x1b(?:\[[0-9;?]*)?$")
"""The beginning of a sequence, at the end of what was read: the rest comes with the next piece."""


@dataclass
class Screen:
    """Lines of a terminal that is ``columns`` wide and as long as need be.

    Attributes:
        lines: as they are now, without trailing blanks.
        wrapped: the numbers of the lines that a text ran into because the one before was full.
    """

    columns: int
    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0
    wrapped: set[int] = field(default_factory=set)
    styles: set[str] = field(default_factory=set)
    begun: str = ""

    def feed(self, text: str) -> None:
        """Show ``text``, which may end within a sequence."""
        text = self.begun + text
        begun = _BEGUN.search(text)
        self.begun = begun[0] if begun else ""
        text = text[: len(text) - len(self.begun)]
        position = 0
        while position < len(text):
            sequence = _SEQUENCE.match(text, position)
            if sequence:
                self._obey(sequence[1], sequence[2])
                position = sequence.end()
                continue
            self._put(text[position])
            position += 1

    @property
    def line(self) -> str:
        """The line that the cursor is on."""
        return self.lines[self.row].rstrip()

    @property
    def text(self) -> str:
        """Everything that is seen."""
        return "\n".join(line.rstrip() for line in self.lines)

    def _obey(self, arguments: str, command: str) -> None:
        if command == "m":
            self.styles.add(arguments)
        elif command == "K" and arguments in ("", "0"):
            self.lines[self.row] = self.lines[self.row][: self.column]
        else:
            raise AssertionError(f"a sequence that not every terminal obeys: {arguments}{command}")

    def _put(self, character: str) -> None:
        if character == "\n":
            self._next_line()
        elif character == "\r":
            self.column = 0
        elif character < " " or character == "\x7f":
            raise AssertionError(f"a control character: {character!r}")
        else:
            if self.column == self.columns:
                self._next_line()
                self.column = 0
                self.wrapped.add(self.row)
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1

    def _next_line(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")


@dataclass
class Shown:
    """What a program wrote: when (seconds from its start) and what, and the screen after it."""

    code: int
    pieces: list[tuple[float, str]]
    screen: Screen

    @property
    def written(self) -> str:
        """All of it as it was sent."""
        return "".join(text for _, text in self.pieces)

    def longest_silence(self) -> float:
        """The longest time in seconds in which nothing that is seen changed."""
        moments = [0.0, *(at for at, text in self.pieces if text)]
        return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=0.0)


def in_terminal(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    columns: int,
    seconds: float = 150.0,
    stdout: int | None = None,
    watch: Callable[[subprocess.Popen[bytes], Screen], None] = lambda process, screen: None,
    closed_at: Callable[[Screen], bool] = lambda screen: False,
) -> Shown:
    """Run ``command`` in a pseudo terminal until it ends.

    Args:
        stdout: where its standard output goes instead.
        watch: called after each piece of output, with the process and the screen.
        closed_at: when the terminal is closed, as a window is; nothing is seen after that.
    """
    master, slave = pty.openpty()
    resize(master, columns)
    screen, pieces = Screen(columns), []
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        env={"TERM": "xterm-256color", **environment},
        stdin=slave,
        stdout=slave if stdout is None else stdout,
        stderr=slave,
        preexec_fn=_take_terminal,
        start_new_session=True,
    )
    os.close(slave)
    try:
        while time.monotonic() - started < seconds:
            ready, _, _ = select.select([master], [], [], 0.1)
            if not ready:
                if process.poll() is not None:
                    break
                continue
            try:
                text = decoder.decode(os.read(master, 65536))
            except OSError:  # the last process has closed it
                break
            pieces.append((time.monotonic() - started, text))
            screen.feed(text.replace("\r\n", "\n").replace("\n", "\r\n"))
            watch(process, screen)
            if closed_at(screen):
                break
        os.close(master)
        code = process.wait(max(1.0, seconds - (time.monotonic() - started)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return Shown(code, pieces, screen)


def resize(terminal: int, columns: int) -> None:
    """Make a terminal ``columns`` wide."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
