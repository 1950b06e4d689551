"""The installed program ``nethical``: how its process begins and ends.

What belongs here: what has to work before anything else is imported, and after everything else has ended. What does
not: the command line (``app``), which is imported when this is ready.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys

from nethical_assets.command_line.interrupts import end_at_once
from nethical_assets.command_line.streams import outlive_readers

_INTERRUPTED = 130
OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Importing makes objects that stay: looked at after every 700 new ones, as by default, they cost a quarter more."""


def program() -> None:
    """Run the command line, and then end in a way that nothing can spoil.

    A library with threads of its own may abort a process whose interpreter is taken apart around them
    (https://github.com/apache/arrow/issues/34314): the exit code would no longer say what was done. So the process ends
    when everything that was registered for its end has run.
    """
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    codes: list[int] = []
    atexit.register(_end, codes)
    end_at_once()
    outlive_readers()
    try:
        from nethical_assets.command_line.app import main

        main()
    except SystemExit as ended:
        if isinstance(ended.code, int):
            codes.append(ended.code)
        raise
    except KeyboardInterrupt:
        # Nothing had begun: what interrupts a command is told by the command line.
        sys.stderr.write("nethical: interrupted\n")
        codes.append(_INTERRUPTED)
        sys.exit(_INTERRUPTED)


def _end(codes: list[int]) -> None:
    for stream in (sys.stdout, sys.stderr):
        # Whoever read it may be gone.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if codes:
        os._exit(codes[0])


if __name__ == "__main__":
    program()
