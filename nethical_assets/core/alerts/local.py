"""The local issue tracker: one SQLite file.

What belongs here: storing issues so that several processes and threads may file at once and a crash loses nothing. What
does not: what an issue says (``body``) or means (``tracker``).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from nethical_assets.core.alerts.body import COMMENT_LIMIT, render_body, render_recurrence, sanitise
from nethical_assets.core.alerts.kinds import Alert
from nethical_assets.core.alerts.tracker import Comment, Issue, IssueNotFoundError, State, TrackerError
from nethical_assets.core.ground.errors import BusyError, IntegrityError
from nethical_assets.core.ground.storage import exclusive_lock

SCHEMA_VERSION = 1
PLATFORM = "nethical"
"""The actor of comments that no person wrote."""

_BUSY_SECONDS = 30.0
_SEVERITIES = ("low", "medium", "high", "critical")
_LABEL_SEPARATOR = ","

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
    close_reason TEXT NOT NULL DEFAULT ''
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


class LocalIssueTracker:
    """Issues in the SQLite file ``path``, which is created on first use. Implements ``tracker.IssueTracker``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, alert: Alert) -> Issue:
        """Open, update or reopen the issue of the alert's problem and return it."""
        at = _moment(alert.when)
        with self._transaction() as connection:
            known = connection.execute(
                "SELECT number, state, severity, last_summary FROM issues WHERE fingerprint = ?", (alert.fingerprint,)
            ).fetchone()
            if known is None:
                return _read(connection, _open(connection, alert, at))
            number = int(known["number"])
            added = connection.execute(
                "INSERT OR IGNORE INTO occurrences VALUES (?, ?)", (number, sanitise(alert.occurrence))
            )
            if added.rowcount == 0:
                return _read(connection, number)
            severity = alert.effective_severity
            if known["state"] == "closed":
                _comment(connection, number, at, PLATFORM, "Reopened: the problem occurred again.\n")
            else:
                severity = max(severity, known["severity"], key=_SEVERITIES.index)
            summary = sanitise(alert.summary, COMMENT_LIMIT)
            if summary != known["last_summary"] or known["state"] == "closed":
                _comment(connection, number, at, PLATFORM, render_recurrence(alert))
            connection.execute(
                "UPDATE issues SET state = 'open', severity = ?, occurrences = occurrences + 1, last_summary = ?,"
                " updated_at = ?, closed_at = '', closed_by = '', close_reason = '' WHERE number = ?",
                (severity, summary, at, number),
            )
            return _read(connection, number)

    def find(self, fingerprint: str) -> Issue | None:
        """The issue of a problem, open or closed; None when it never occurred."""
        with self._connection() as connection:
            row = connection.execute("SELECT number FROM issues WHERE fingerprint = ?", (fingerprint,)).fetchone()
            return None if row is None else _read(connection, int(row["number"]))

    def show(self, number: int) -> Issue:
        """The issue with this number.

        Raises:
            IssueNotFoundError: there is none.
        """
        with self._connection() as connection:
            return _read(connection, number)

    def list(self, state: State | None = None, label: str | None = None) -> tuple[Issue, ...]:
        """Issues by number, of one state and with one label where given."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT number FROM issues WHERE ? IS NULL OR state = ? ORDER BY number", (state, state)
            ).fetchall()
            issues = [_read(connection, int(row["number"])) for row in rows]
        return tuple(issue for issue in issues if label is None or label in issue.labels)

    def comment(self, number: int, text: str, actor: str) -> Issue:
        """Add a comment.

        Raises:
            IssueNotFoundError: there is no such issue.
        """
        at = _moment(datetime.now(UTC))
        with self._transaction() as connection:
            _read(connection, number)
            _comment(connection, number, at, sanitise(actor), sanitise(text, COMMENT_LIMIT))
            connection.execute("UPDATE issues SET updated_at = ? WHERE number = ?", (at, number))
            return _read(connection, number)

    def close(self, number: int, reason: str, actor: str) -> Issue:
        """Close the issue; closing a closed one changes nothing.

        Raises:
            IssueNotFoundError: there is no such issue.
        """
        at = _moment(datetime.now(UTC))
        said, by = sanitise(reason, COMMENT_LIMIT), sanitise(actor)
        with self._transaction() as connection:
            if _read(connection, number).state == "open":
                _comment(connection, number, at, by, f"Closed: {said}")
                connection.execute(
                    "UPDATE issues SET state = 'closed', updated_at = ?, closed_at = ?, closed_by = ?, close_reason = ?"
                    " WHERE number = ?",
                    (at, at, by, said, number),
                )
            return _read(connection, number)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One writing transaction: committed as a whole, or not at all."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each operation: none is shared between threads or inherited by a fork."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)) as opened:
                opened.row_factory = sqlite3.Row
                opened.execute("PRAGMA foreign_keys = ON")
                opened.execute("PRAGMA synchronous = FULL")
                self._prepare(opened)
                yield opened
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise BusyError(
                    f"{self.path}: the issue tracker was locked for {_BUSY_SECONDS:g} s; try again"
                ) from None
            raise TrackerError(f"{self.path}: cannot use the issue tracker ({error}); check space and rights") from None
        except sqlite3.DatabaseError as error:
            raise IntegrityError(
                f"{self.path}: the issue tracker is damaged ({error}); restore it from a backup or move it away"
            ) from None
        except OSError as error:
            raise TrackerError(f"{self.path}: cannot use the issue tracker ({error}); check the folder") from None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = _version(connection)
        if version == 0:
            # Changing the journal mode does not wait for other connections, so one process at a time prepares.
            lock = self.path.with_name(self.path.name + ".lock")
            with exclusive_lock(lock, waiting_seconds=_BUSY_SECONDS, what="the issue tracker"):
                version = _version(connection) or _create(connection)
        if version != SCHEMA_VERSION:
            raise IntegrityError(
                f"{self.path}: the issue tracker has schema version {version}, this program knows {SCHEMA_VERSION}; "
                "use the program that wrote it"
            )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection) -> int:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    return SCHEMA_VERSION


def _open(connection: sqlite3.Connection, alert: Alert, at: str) -> int:
    cursor = connection.execute(
        'INSERT INTO issues (fingerprint, kind, subject, "check", title, body, labels, severity, state, occurrences,'
        " last_summary, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'open', 1, ?, ?, ?)",
        (
            alert.fingerprint,
            alert.kind,
            sanitise(alert.subject),
            sanitise(alert.check),
            alert.title,
            render_body(alert),
            _LABEL_SEPARATOR.join(alert.declared.labels),
            alert.effective_severity,
            sanitise(alert.summary, COMMENT_LIMIT),
            at,
            at,
        ),
    )
    number = cursor.lastrowid
    assert number is not None  # noqa: S101 (sqlite3 sets it after every INSERT)
    connection.execute("INSERT INTO occurrences VALUES (?, ?)", (number, sanitise(alert.occurrence)))
    return number


def _comment(connection: sqlite3.Connection, number: int, at: str, actor: str, body: str) -> None:
    connection.execute("INSERT INTO comments (issue, at, actor, body) VALUES (?, ?, ?, ?)", (number, at, actor, body))


def _read(connection: sqlite3.Connection, number: int) -> Issue:
    row = connection.execute("SELECT * FROM issues WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise IssueNotFoundError(f"there is no issue {number}; `nethical alerts list` shows those there are")
    comments = connection.execute(
        "SELECT at, actor, body FROM comments WHERE issue = ? ORDER BY id", (number,)
    ).fetchall()
    values = {name: row[name] for name in row.keys() if name not in ("labels", "last_summary")}  # noqa: SIM118
    return Issue(
        **values,
        labels=tuple(row["labels"].split(_LABEL_SEPARATOR)),
        comments=tuple(Comment(**dict(comment)) for comment in comments),
    )


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds")
