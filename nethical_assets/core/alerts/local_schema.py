"""The tables of the local issue tracker, how older files become current ones, and how one is opened to be read.

What belongs here: schema, upgrades, read-only connections. What does not: what is written into the tables (``local``).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.sqlite_copies import readable_copy
from nethical_assets.core.ground.storage import exclusive_lock

SCHEMA_VERSION = 5

_SCHEMA = """
CREATE TABLE issues (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    "check" TEXT NOT NULL,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    labels TEXT NOT NULL,
    severity TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    occurrences INTEGER NOT NULL,
    last_summary TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    closed_at TEXT NOT NULL DEFAULT '',
    closed_by TEXT NOT NULL DEFAULT '',
    close_reason TEXT NOT NULL DEFAULT '',
    failed TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE occurrences (
    issue INTEGER NOT NULL REFERENCES issues (number),
    occurrence TEXT NOT NULL,
    PRIMARY KEY (issue, occurrence)
) STRICT, WITHOUT ROWID;
CREATE TABLE comments (
    id INTEGER PRIMARY KEY,
    issue INTEGER NOT NULL REFERENCES issues (number),
    at TEXT NOT NULL,
    actor TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX comments_of_issue ON comments (issue, id);
"""
# ``failed`` and ``passed`` are moments of results (``kinds.Moment``): the newest occurrence and the newest resolution.
_SCHEMA_2 = """
CREATE TABLE resolutions (
    fingerprint TEXT PRIMARY KEY,
    passed TEXT NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE notes (
    issue INTEGER NOT NULL REFERENCES issues (number),
    note TEXT NOT NULL,
    PRIMARY KEY (issue, note)
) STRICT, WITHOUT ROWID;
CREATE TABLE positions (
    reader TEXT PRIMARY KEY,
    position TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""
# Version 1 kept no moment of its occurrences; the last change of an open issue was one, or a comment after it.
_FROM_1 = """
ALTER TABLE issues ADD COLUMN failed TEXT NOT NULL DEFAULT '';
UPDATE issues SET failed = CASE state WHEN 'open' THEN updated_at ELSE created_at END;
"""
# Whether the audit log has yet to be told of the issue as it is.
_SCHEMA_3 = """
ALTER TABLE issues ADD COLUMN unlogged INTEGER NOT NULL DEFAULT 0;
"""
# ``changes`` is what is delivered elsewhere, in its order; ``comment`` is what the change says, empty where an issue
# was opened. A target has been given all changes up to ``delivered``; those up to ``since`` were there before it was.
_SCHEMA_4 = """
ALTER TABLE issues ADD COLUMN acknowledged_at TEXT NOT NULL DEFAULT '';
ALTER TABLE issues ADD COLUMN acknowledged_by TEXT NOT NULL DEFAULT '';
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    issue INTEGER NOT NULL REFERENCES issues (number),
    change TEXT NOT NULL CHECK (change IN ('opened', 'commented', 'closed', 'reopened')),
    comment INTEGER REFERENCES comments (id)
) STRICT;
CREATE INDEX changes_of_issue ON changes (issue, change);
CREATE TABLE targets (
    target TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    attempted INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    not_before TEXT NOT NULL DEFAULT '',
    problem TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
CREATE TABLE deliveries (
    target TEXT NOT NULL REFERENCES targets (target),
    issue INTEGER NOT NULL REFERENCES issues (number),
    known_as TEXT NOT NULL,
    PRIMARY KEY (target, issue)
) STRICT, WITHOUT ROWID;
INSERT INTO changes (issue, change) SELECT number, 'opened' FROM issues WHERE state = 'open' ORDER BY number;
"""
# ``held`` are alerts that open issues hold back, as steps; ``refusals`` the changes that a target will never take.
_SCHEMA_5 = """
CREATE TABLE held (
    fingerprint TEXT PRIMARY KEY,
    moment TEXT NOT NULL,
    step TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE refusals (
    target TEXT NOT NULL REFERENCES targets (target),
    change INTEGER NOT NULL REFERENCES changes (id),
    problem TEXT NOT NULL,
    PRIMARY KEY (target, change)
) STRICT, WITHOUT ROWID;
"""
_STEPS = (_SCHEMA + _SCHEMA_2, _SCHEMA_3, _SCHEMA_4, _SCHEMA_5)
_UPGRADES = {
    0: "".join(_STEPS),
    1: "".join((_FROM_1, _SCHEMA_2, *_STEPS[1:])),
    **{version: "".join(_STEPS[version - 1 :]) for version in range(2, SCHEMA_VERSION)},
}


def prepare(connection: sqlite3.Connection, path: Path, waiting_seconds: float) -> None:
    """Create or upgrade the tables of the file ``path``, one process at a time.

    Raises:
        BusyError: another process has been preparing them for ``waiting_seconds``.
        IntegrityError: a newer program wrote the file.
    """
    version = _version(connection)
    if version in _UPGRADES:
        # Changing the journal mode does not wait for other connections, so one process at a time prepares.
        lock = path.with_name(path.name + ".lock")
        with exclusive_lock(lock, waiting_seconds=waiting_seconds, what="the issue tracker"):
            version = _version(connection)
            if version in _UPGRADES:
                version = _upgrade(connection, _UPGRADES[version])
    if version != SCHEMA_VERSION:
        raise IntegrityError(
            f"{path}: the issue tracker has schema version {version}, this program knows {SCHEMA_VERSION}; "
            "use the program that wrote it"
        )


_UNWRITABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
"""What SQLite says, in one way or another, where no file can be made beside the database, as on a full disk."""


@contextlib.contextmanager
def open_to_read(path: Path, waiting_seconds: float) -> Iterator[sqlite3.Connection | None]:
    """A connection that changes nothing: to an empty tracker where there is none, and also on a disk that cannot be
    written. None where the file has to be upgraded first.

    Raises:
        sqlite3.Error, OSError: the file is damaged, or cannot be read.
    """
    with contextlib.ExitStack() as stack:
        if not path.exists():
            empty = stack.enter_context(contextlib.closing(sqlite3.connect(":memory:")))
            empty.executescript(_UPGRADES[0])
            yield empty
            return
        try:
            # Not mode=ro: such a connection would leave the files of its write-ahead log behind.
            found = _current(path, waiting_seconds)
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code not in _UNWRITABLE:
                raise
            found = _current(stack.enter_context(readable_copy(path)), waiting_seconds)
        if found is not None:
            stack.callback(found.close)
        yield found


def _current(path: Path, waiting_seconds: float) -> sqlite3.Connection | None:
    address = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=waiting_seconds, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        version = _version(connection)
    except BaseException:
        connection.close()
        raise
    if version == SCHEMA_VERSION:
        return connection
    connection.close()
    return None


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _upgrade(connection: sqlite3.Connection, script: str) -> int:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    return SCHEMA_VERSION
