"""Pooled SQLite connections: one engine a database file, bounded in number, never shared across a fork.

What belongs here: how long a connection to a SQLite file lives and how it is set up. What does not: what is stored in
the file (``sqlite_storage``).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as db
from sqlalchemy.engine import Connection
from sqlalchemy.pool import QueuePool

MAXIMUM_FILES = 8
"""Files kept open when nobody uses them; each costs up to ``_IDLE_CONNECTIONS`` times three descriptors."""
_IDLE_CONNECTIONS = 2

_FileIdentity = tuple[int, int]


class _OpenFile:
    """One database file: its engine, who uses it, and which file its connections were opened on."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        self.path = path
        self.users = 0
        self.retired = False
        self.identity: _FileIdentity | None = None
        self.engine = db.create_engine(
            db.URL.create("sqlite", database=str(path)),
            poolclass=QueuePool,
            pool_size=_IDLE_CONNECTIONS,
            max_overflow=-1,
            pool_use_lifo=True,
            connect_args={"timeout": timeout_seconds, "check_same_thread": False},
        )
        db.event.listen(self.engine, "connect", self._set_up)

    def _set_up(self, connection: Any, record: Any) -> None:
        self.identity = _identity(self.path)
        # With a write-ahead log, NORMAL can lose the last commits in a power failure but never spoils the file. What
        # must not be lost is in the audit log, which syncs for itself.
        connection.execute("PRAGMA synchronous=NORMAL")


class SqliteEngines:
    """Engines by file, for one owner; the least recently used ones are closed.

    A file that was deleted or replaced since it was opened is opened anew: a pooled connection would go on writing to
    the file that no longer has a name.
    """

    def __init__(self, *, timeout_seconds: float, maximum_files: int = MAXIMUM_FILES) -> None:
        """``timeout_seconds``: how long a statement waits for another process's lock before it fails."""
        self._timeout_seconds = timeout_seconds
        self._maximum_files = maximum_files
        self._lock = threading.RLock()
        self._files: OrderedDict[Path, _OpenFile] = OrderedDict()
        self._inherited: list[_OpenFile] = []
        _every_owner.add(self)

    @contextmanager
    def begin(self, path: Path) -> Iterator[Connection]:
        """A connection to ``path`` in a transaction, which is committed when the context ends without an error."""
        file = self._take(path)
        try:
            with file.engine.begin() as connection:
                yield connection
        finally:
            self._give_back(file)

    def close(self) -> None:
        """Close all connections, those in use as soon as they are given back. They are opened anew when needed."""
        with self._lock:
            for file in list(self._files.values()):
                self._retire(file)

    def close_file(self, path: Path) -> None:
        """Close the connections to one file, as ``close`` does for all."""
        with self._lock:
            if path in self._files:
                self._retire(self._files[path])

    def _take(self, path: Path) -> _OpenFile:
        with self._lock:
            file = self._files.get(path)
            if file is not None and file.identity is not None and file.identity != _identity(path):
                self._retire(file)
                file = None
            if file is None:
                file = self._files[path] = _OpenFile(path, self._timeout_seconds)
            self._files.move_to_end(path)
            file.users += 1
            return file

    def _give_back(self, file: _OpenFile) -> None:
        with self._lock:
            file.users -= 1
            if file.retired and not file.users:
                file.engine.dispose()
            idle = [each for each in self._files.values() if not each.users]
            for each in idle[: max(0, len(self._files) - self._maximum_files)]:
                self._retire(each)

    def _retire(self, file: _OpenFile) -> None:
        del self._files[file.path]
        file.retired = True
        if not file.users:
            file.engine.dispose()

    def prepare_fork(self) -> None:
        """Hold the lock, and close what nobody uses: SQLite's own state of an open file must not reach the child."""
        self._lock.acquire()
        for file in self._files.values():
            file.engine.dispose()

    def resume_in_parent(self) -> None:
        """Go on after a fork."""
        self._lock.release()

    def resume_in_child(self) -> None:
        """Start empty. Connections that other threads of the parent were using are kept unused, as closing them here
        could release the parent's hold on the file."""
        self._inherited.extend(file for file in self._files.values() if file.users)
        self._files = OrderedDict()
        self._lock = threading.RLock()


_every_owner: weakref.WeakSet[SqliteEngines] = weakref.WeakSet()
_forking: list[SqliteEngines] = []


def _identity(path: Path) -> _FileIdentity | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _before_fork() -> None:
    _forking[:] = list(_every_owner)
    for engines in _forking:
        engines.prepare_fork()


def _after_fork_in_parent() -> None:
    for engines in _forking:
        engines.resume_in_parent()
    _forking.clear()


def _after_fork_in_child() -> None:
    for engines in _forking:
        engines.resume_in_child()
    _forking.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
