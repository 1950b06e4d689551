"""Reading SQLite files where nothing can be written.

What belongs here: copies to read from. What does not: what is in them, or reading where SQLite can write.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

_TRIES = 5
_LOG = "-wal"


@contextlib.contextmanager
def readable_copy(path: Path) -> Iterator[Path]:
    """A copy of the database ``path`` with its write-ahead log, in a folder of its own that goes with the context.

    SQLite shares what is in that log through a file that it has to create beside it. Ignoring the log instead would
    show the database as it was before the last changes, or torn where another process moves them at that moment.

    Raises:
        OSError: the database cannot be read.
        sqlite3.OperationalError: it changed during every one of several tries.
    """
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(_TRIES):
            before = _state(path)
            for source in (path, path.with_name(path.name + _LOG)):
                target = Path(folder, source.name)
                target.unlink(missing_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(source, target)
            if _state(path) == before:
                break
        else:
            raise sqlite3.OperationalError(f"{path.name} changes faster than it can be copied")
        yield Path(folder, path.name)


def _state(path: Path) -> list[tuple[int, int, int] | None]:
    found: list[tuple[int, int, int] | None] = []
    for source in (path, path.with_name(path.name + _LOG)):
        try:
            about = source.stat()
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((about.st_ino, about.st_size, about.st_mtime_ns))
    return found
