"""The index beside the log: which leaves name a digest, and the nodes of the map of runs.

What belongs here: the SQLite file. What does not: trusting it. Everything in it is derived from the log: an answer is
read from the tiles and checked by whoever asks (``reader``), a node is named by its hash, and an index that is missing,
behind or damaged is bypassed by readers and written anew by the next writer (``writer``).
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nethical_assets.core.audit.keyed_tree import DamagedIndexError
from nethical_assets.core.ground.storage import create_temporary

INDEX = "index.sqlite"
_VERSION = 1
_DIGESTS = re.compile(rb'"sha256:([0-9a-f]{64})"')
_SCHEMA = """
CREATE TABLE log (version INTEGER, size INTEGER, root TEXT, runs BLOB) STRICT;
CREATE TABLE nodes (hash BLOB PRIMARY KEY, data BLOB) STRICT, WITHOUT ROWID;
CREATE TABLE digests (digest BLOB, leaf INTEGER, PRIMARY KEY (digest, leaf)) STRICT, WITHOUT ROWID;
"""
Row = tuple[bytes, int]


@dataclass(frozen=True)
class Covered:
    """The tree that an index was made for: its size, its root (hexadecimal), and the hash of its map of runs."""

    size: int
    root: str
    runs: bytes


def rows_of(index: int, entry: bytes) -> set[Row]:
    """What the index holds about a leaf: every digest in its text."""
    return {(bytes.fromhex(found.decode()), index) for found in _DIGESTS.findall(entry)}


class LogIndex:
    """The index in a log's folder; one that is missing or that SQLite cannot read raises ``DamagedIndexError``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / INDEX

    @contextlib.contextmanager
    def reading(self) -> Iterator[IndexSession]:
        """The index for reading; nothing is created or changed.

        Raises:
            DamagedIndexError: it is missing, or cannot be read.
        """
        if not self.path.exists():
            raise DamagedIndexError(f"{self.path}: missing index")
        with self._opened("ro") as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[IndexSession]:
        """The index for one change, which is kept when the block ends well. Needs the log's writer lock.

        Raises:
            DamagedIndexError: it is missing, or cannot be written.
        """
        with self._opened("rw") as session:
            # Not durable at once: a change that a power failure undoes or tears is found and made again.
            session.connection.execute("PRAGMA synchronous = OFF")
            with session.connection:
                yield session

    def replace(self, covered: Covered, nodes: Mapping[bytes, bytes], rows: Iterable[Row]) -> None:
        """Write the index anew; a reader sees the old one or the new one.

        Raises:
            DamagedIndexError: there is no space.
        """
        try:
            descriptor, name = create_temporary(self.path.parent)
            os.close(descriptor)
            fresh = LogIndex(self.path.parent)
            fresh.path = name
            try:
                with fresh.writing() as session:
                    session.connection.executescript(_SCHEMA)
                    session.extend(covered, nodes, (), rows)
                os.replace(name, self.path)
            except BaseException:
                name.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise DamagedIndexError(f"{self.path}: cannot be written ({error.strerror})") from None

    @contextlib.contextmanager
    def _opened(self, mode: str) -> Iterator[IndexSession]:
        try:
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, timeout=30.0)
        except sqlite3.Error as error:
            raise DamagedIndexError(f"{self.path}: cannot be opened ({error})") from None
        try:
            yield IndexSession(connection, self.path)
        except sqlite3.Error as error:
            raise DamagedIndexError(f"{self.path}: damaged index ({error})") from None
        finally:
            connection.close()


class IndexSession:
    """One look into the index."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self._path = path

    def covered(self) -> Covered:
        """What it was made for.

        Raises:
            DamagedIndexError: it is of another version, or holds something else.
        """
        rows = self.connection.execute("SELECT version, size, root, runs FROM log").fetchall()
        if len(rows) != 1 or rows[0][0] != _VERSION:
            raise DamagedIndexError(f"{self._path}: not an index of version {_VERSION}")
        return Covered(*rows[0][1:])

    def node(self, digest: bytes) -> bytes:
        """The bytes of a node of the map of runs, not checked.

        Raises:
            DamagedIndexError: it is not there.
        """
        row = self.connection.execute("SELECT data FROM nodes WHERE hash = ?", (digest,)).fetchone()
        if row is None:
            raise DamagedIndexError(f"{self._path}: node {digest.hex()} is missing")
        return bytes(row[0])

    def leaves(self, digest: str) -> list[int]:
        """The leaves that are said to name a digest, in order; not checked."""
        wanted = bytes.fromhex(digest.partition(":")[2])
        rows = self.connection.execute("SELECT leaf FROM digests WHERE digest = ? ORDER BY leaf", (wanted,))
        return [row[0] for row in rows]

    def nodes(self) -> dict[bytes, bytes]:
        """Every node."""
        return {bytes(row[0]): bytes(row[1]) for row in self.connection.execute("SELECT hash, data FROM nodes")}

    def rows(self) -> Iterator[Row]:
        """Every digest with a leaf."""
        yield from self.connection.execute("SELECT digest, leaf FROM digests")

    def extend(
        self, covered: Covered, added: Mapping[bytes, bytes], removed: Iterable[bytes], rows: Iterable[Row]
    ) -> None:
        """Take in what a chunk added."""
        run = self.connection.executemany
        run("DELETE FROM nodes WHERE hash = ?", ((digest,) for digest in removed))
        run("INSERT OR REPLACE INTO nodes VALUES (?, ?)", added.items())
        run("INSERT OR IGNORE INTO digests VALUES (?, ?)", rows)
        self.connection.execute("DELETE FROM log")
        self.connection.execute(
            "INSERT INTO log VALUES (?, ?, ?, ?)", (_VERSION, covered.size, covered.root, covered.runs)
        )
