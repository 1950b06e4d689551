"""The streams of the program: whoever reads them may go away.

What belongs here: standard output and standard error that outlive their readers. What does not: what is written.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import TextIO, cast

_NOBODY_READS = {errno.EPIPE}
_TERMINAL_CLOSED = {errno.EIO, errno.ENXIO}


class _Outliving(io.RawIOBase):
    """A stream that goes on when nobody reads it any more, as a pipe into ``head`` or a terminal that was closed: what
    a command does, and its exit code, do not depend on that. What cannot be stored, on a full disk, is an error."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._gone = False

    def write(self, data: object) -> int:
        """As ``RawIOBase.write``."""
        view = memoryview(cast(bytes, data)).cast("B")
        if not self._gone:
            try:
                return os.write(self._descriptor, view)
            except OSError as error:
                terminal = _TERMINAL_CLOSED if is_terminal(self._descriptor) else set()
                if error.errno not in _NOBODY_READS | terminal:
                    raise
                self._gone = True
        return len(view)

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)


def outlive_readers() -> None:
    """Have this process's standard output and standard error outlive whoever reads them; a closed one takes nothing."""
    sys.stdout, sys.stderr = (_outliving(stream) for stream in (sys.stdout, sys.stderr))


def _outliving(stream: TextIO | None) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    stream.flush()
    # What the encoding of a terminal does not have is shown by its number, and is no reason to stop.
    handling = stream.errors if stream.errors not in (None, "strict") else "backslashreplace"
    return outliving(
        stream.fileno(),
        stream.encoding,
        handling,
        line_buffering=stream is sys.stderr or stream.isatty(),
    )


def outliving(descriptor: int, encoding: str, errors: str = "replace", *, line_buffering: bool = True) -> TextIO:
    """A text stream into ``descriptor``, which stays open, that outlives whoever reads it."""
    raw = io.BufferedWriter(_Outliving(descriptor))
    return io.TextIOWrapper(raw, encoding=encoding, errors=errors, line_buffering=line_buffering)


def is_terminal(descriptor: int) -> bool:
    """Whether ``descriptor`` is a terminal, also one that was closed on the other side."""
    try:
        return os.isatty(descriptor) or stat.S_ISCHR(os.fstat(descriptor).st_mode)
    except OSError:
        return False
