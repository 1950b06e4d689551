"""The local issue tracker: one SQLite file.

What belongs here: storing issues so that several processes and threads may file at once and a crash loses nothing. What
does not: what an issue says (``body``) or means (``tracker``).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from nethical_assets.core.alerts.body import COMMENT_LIMIT, render_body, render_recurrence, sanitise
from nethical_assets.core.alerts.kinds import Alert, Resolution
from nethical_assets.core.alerts.local_schema import open_to_read, prepare
from nethical_assets.core.alerts.tracker import (
    Announce,
    Comment,
    Issue,
    IssueNotFoundError,
    Recorded,
    State,
    TrackerError,
    text_digest,
)
from nethical_assets.core.ground.errors import BusyError, IntegrityError

PLATFORM = "nethical"
"""The actor of comments that no person wrote."""

_BUSY_SECONDS = 30.0
_SEVERITIES = ("low", "medium", "high", "critical")
_LABEL_SEPARATOR = ","


class LocalIssueTracker:
    """Issues in the SQLite file ``path``, created at the first filing. Implements ``tracker.IssueTracker``."""

    def __init__(self, path: Path, announce: Announce | None = None) -> None:
        self.path = path
        self._announce = announce

    def file(self, alert: Alert) -> Issue:
        """Open, update or reopen the issue of the alert's problem and return it."""
        with self._transaction() as connection:
            self._file(connection, alert)
            return _read(connection, _number(connection, alert.fingerprint))

    def record(
        self, results: Sequence[Alert | Resolution], *, reader: str | None = None, position: str = ""
    ) -> Recorded:
        """File and resolve all of ``results`` or none of them, in the order in which they happened; with ``reader``
        remember in the same transaction how far it has read."""
        filed = closed = 0
        with self._transaction() as connection:
            for result in sorted(results, key=lambda one: one.moment):
                if isinstance(result, Alert):
                    filed += self._file(connection, result)
                else:
                    closed += self._resolve(connection, result)
            if reader is not None:
                connection.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (reader, position))
        return Recorded(filed, closed)

    def position(self, reader: str) -> str | None:
        """How far ``reader`` has read; None when it never recorded."""
        with self._reading() as connection:
            row = connection.execute("SELECT position FROM positions WHERE reader = ?", (reader,)).fetchone()
            return None if row is None else str(row["position"])

    def note(self, fingerprint: str, key: str, text: str, actor: str) -> bool:
        """Comment on the open issue of a problem, once for each ``key``; whether a comment was added."""
        at = _moment(datetime.now(UTC))
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT number FROM issues WHERE fingerprint = ? AND state = 'open'", (fingerprint,)
            ).fetchone()
            if (
                row is None
                or not connection.execute("INSERT OR IGNORE INTO notes VALUES (?, ?)", (row["number"], key)).rowcount
            ):
                return False
            _comment(connection, row["number"], at, sanitise(actor), sanitise(text, COMMENT_LIMIT))
            connection.execute("UPDATE issues SET updated_at = ? WHERE number = ?", (at, row["number"]))
            return True

    def find(self, fingerprint: str) -> Issue | None:
        """The issue of a problem, open or closed; None when it never occurred."""
        with self._reading() as connection:
            row = connection.execute("SELECT number FROM issues WHERE fingerprint = ?", (fingerprint,)).fetchone()
            return None if row is None else _read(connection, int(row["number"]))

    def show(self, number: int) -> Issue:
        """The issue with this number.

        Raises:
            IssueNotFoundError: there is none.
        """
        with self._reading() as connection:
            return _read(connection, number)

    def list(self, state: State | None = None, label: str | None = None) -> tuple[Issue, ...]:
        """Issues by number, of one state and with one label where given."""
        with self._reading() as connection:
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
        with self._transaction() as connection:
            issue = _read(connection, number)
            if issue.state == "open":
                self._close(connection, issue, _moment(datetime.now(UTC)), reason, actor)
            return _read(connection, number)

    def _file(self, connection: sqlite3.Connection, alert: Alert) -> bool:
        """Whether the occurrence counted."""
        known = connection.execute(
            "SELECT number, state, severity, last_summary, failed FROM issues WHERE fingerprint = ?",
            (alert.fingerprint,),
        ).fetchone()
        passed = connection.execute(
            "SELECT passed, reason, actor FROM resolutions WHERE fingerprint = ?", (alert.fingerprint,)
        ).fetchone()
        if known is None:
            said = _said(alert)
            self._say_filed(alert, "opened", text=text_digest(said))
            number = _open(connection, alert, said)
            if passed is not None and passed["passed"] > alert.moment:
                at = passed["passed"].partition(" ")[0]
                self._close(connection, _read(connection, number), at, passed["reason"], passed["actor"])
            return True
        number = int(known["number"])
        added = connection.execute(
            "INSERT OR IGNORE INTO occurrences VALUES (?, ?)", (number, sanitise(alert.occurrence))
        ).rowcount
        newer = alert.moment > known["failed"] or (added and alert.moment == known["failed"])
        if not added and not newer:
            return False
        if not newer or (passed is not None and passed["passed"] > alert.moment):
            self._say_filed(alert, "counted")
            connection.execute(
                "UPDATE issues SET occurrences = occurrences + ?, failed = max(failed, ?) WHERE number = ?",
                (added, alert.moment, number),
            )
            return True
        reopened = known["state"] == "closed"
        graver = _SEVERITIES.index(alert.effective_severity) > _SEVERITIES.index(known["severity"])
        self._say_filed(alert, "reopened" if reopened else "graver" if graver else "counted")
        _update(connection, alert, known, reopened=reopened, counts=bool(added))
        return True

    def _resolve(self, connection: sqlite3.Connection, resolution: Resolution) -> bool:
        """Whether an issue was closed. Also remembered without an issue: an older occurrence may yet become known."""
        connection.execute(
            "INSERT INTO resolutions VALUES (?, ?, ?, ?) ON CONFLICT (fingerprint) DO UPDATE SET passed ="
            " excluded.passed, reason = excluded.reason, actor = excluded.actor WHERE excluded.passed > passed",
            (resolution.fingerprint, resolution.moment, resolution.reason, resolution.actor),
        )
        row = connection.execute(
            "SELECT number FROM issues WHERE fingerprint = ? AND state = 'open' AND failed < ?",
            (resolution.fingerprint, resolution.moment),
        ).fetchone()
        if row is None:
            return False
        issue = _read(connection, int(row["number"]))
        self._close(connection, issue, _moment(resolution.when), resolution.reason, resolution.actor)
        return True

    def _close(self, connection: sqlite3.Connection, issue: Issue, at: str, reason: str, actor: str) -> None:
        said, by = sanitise(reason, COMMENT_LIMIT), sanitise(actor)
        self._say("alert_closed", issue.fingerprint, {**_identity(issue), "at": at, "actor": by, "reason": said})
        _comment(connection, issue.number, at, by, f"Closed: {said}")
        connection.execute(
            "UPDATE issues SET state = 'closed', updated_at = ?, closed_at = ?, closed_by = ?, close_reason = ?"
            " WHERE number = ?",
            (at, at, by, said, issue.number),
        )

    def _say_filed(self, alert: Alert, change: Literal["opened", "counted", "graver", "reopened"], **more: str) -> None:
        document = {
            **_identity(alert),
            "change": change,
            "severity": alert.effective_severity,
            "occurrence": sanitise(alert.occurrence),
            "at": _moment(alert.when),
            **more,
        }
        self._say("alert_filed", alert.fingerprint, document)

    def _say(
        self, event: Literal["alert_filed", "alert_closed"], fingerprint: str, document: Mapping[str, Any]
    ) -> None:
        if self._announce is not None:
            self._announce(event, fingerprint, document)

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
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that changes nothing, also where nothing can be changed."""
        with self._failures():
            found = open_to_read(self.path, _BUSY_SECONDS)
        if found is None:
            with self._connection() as opened:
                yield opened
            return
        with self._failures(), contextlib.closing(found) as opened:
            opened.row_factory = sqlite3.Row
            yield opened

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each operation: none is shared between threads or inherited by a fork."""
        with self._failures():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)) as opened:
                opened.row_factory = sqlite3.Row
                opened.execute("PRAGMA foreign_keys = ON")
                opened.execute("PRAGMA synchronous = FULL")
                prepare(opened, self.path, _BUSY_SECONDS)
                yield opened

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Say in one line what SQLite and the file system say in many ways."""
        try:
            yield
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


def _number(connection: sqlite3.Connection, fingerprint: str) -> int:
    row = connection.execute("SELECT number FROM issues WHERE fingerprint = ?", (fingerprint,)).fetchone()
    return int(row["number"])


def _identity(problem: Alert | Issue) -> dict[str, str]:
    return {"kind": problem.kind, "subject": sanitise(problem.subject), "check": sanitise(problem.check)}


def _said(alert: Alert) -> dict[str, Any]:
    """What the issue of a new problem says."""
    return {
        **_identity(alert),
        "title": sanitise(alert.title),
        "body": render_body(alert),
        "labels": alert.declared.labels,
    }


def _open(connection: sqlite3.Connection, alert: Alert, said: Mapping[str, Any]) -> int:
    at = _moment(alert.when)
    cursor = connection.execute(
        'INSERT INTO issues (fingerprint, kind, subject, "check", title, body, labels, severity, state, occurrences,'
        " last_summary, created_at, updated_at, failed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'open', 1, ?, ?, ?, ?)",
        (
            alert.fingerprint,
            *(said[name] for name in ("kind", "subject", "check", "title", "body")),
            _LABEL_SEPARATOR.join(said["labels"]),
            alert.effective_severity,
            sanitise(alert.summary, COMMENT_LIMIT),
            at,
            at,
            alert.moment,
        ),
    )
    number = cursor.lastrowid
    assert number is not None  # noqa: S101 (sqlite3 sets it after every INSERT)
    connection.execute("INSERT INTO occurrences VALUES (?, ?)", (number, sanitise(alert.occurrence)))
    return number


def _update(connection: sqlite3.Connection, alert: Alert, known: sqlite3.Row, *, reopened: bool, counts: bool) -> None:
    """The problem occurred again, later than anything known of it."""
    number, at = int(known["number"]), _moment(alert.when)
    severity = alert.effective_severity
    if reopened:
        _comment(connection, number, at, PLATFORM, "Reopened: the problem occurred again.\n")
    else:
        severity = max(severity, known["severity"], key=_SEVERITIES.index)
    summary = sanitise(alert.summary, COMMENT_LIMIT)
    if summary != known["last_summary"] or reopened:
        _comment(connection, number, at, PLATFORM, render_recurrence(alert))
    connection.execute(
        "UPDATE issues SET state = 'open', severity = ?, occurrences = occurrences + ?, last_summary = ?,"
        " updated_at = ?, closed_at = '', closed_by = '', close_reason = '', failed = ? WHERE number = ?",
        (severity, int(counts), summary, at, alert.moment, number),
    )


def _comment(connection: sqlite3.Connection, number: int, at: str, actor: str, body: str) -> None:
    connection.execute("INSERT INTO comments (issue, at, actor, body) VALUES (?, ?, ?, ?)", (number, at, actor, body))


def _read(connection: sqlite3.Connection, number: int) -> Issue:
    row = connection.execute("SELECT * FROM issues WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise IssueNotFoundError(f"there is no issue {number}; `nethical alerts list` shows those there are")
    comments = connection.execute(
        "SELECT at, actor, body FROM comments WHERE issue = ? ORDER BY id", (number,)
    ).fetchall()
    values = {name: row[name] for name in row.keys() if name not in ("labels", "last_summary", "failed")}  # noqa: SIM118
    return Issue(
        **values,
        labels=tuple(row["labels"].split(_LABEL_SEPARATOR)),
        comments=tuple(Comment(**dict(comment)) for comment in comments),
    )


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds")
