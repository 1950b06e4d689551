"""The local issue tracker: one SQLite file.

What belongs here: storing issues so that several processes and threads may file at once and a crash loses nothing. What
does not: what an issue says (``body``) or means (``tracker``).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nethical_assets.core.alerts import local_held as held
from nethical_assets.core.alerts import local_rows as rows
from nethical_assets.core.alerts.body import COMMENT_LIMIT, sanitise
from nethical_assets.core.alerts.inhibition import Inhibition, is_inhibited
from nethical_assets.core.alerts.kinds import Alert, Resolution
from nethical_assets.core.alerts.local_issues import add_comment, as_text, read
from nethical_assets.core.alerts.local_schema import open_to_read, prepare
from nethical_assets.core.alerts.outbox import Backlog, Outbox, backlogs
from nethical_assets.core.alerts.steps import (
    Acknowledging,
    Closing,
    Journal,
    Leaf,
    Record,
    step_document,
    step_of,
)
from nethical_assets.core.alerts.tracker import Issue, Recorded, State, TrackerError
from nethical_assets.core.ground.disk import advice
from nethical_assets.core.ground.errors import AuditError, BusyError, IntegrityError

_BUSY_SECONDS = 30.0


class LocalIssueTracker:
    """Issues in the SQLite file ``path``, created at the first filing. Implements ``tracker.IssueTracker``.

    Args:
        journal: where changes are recorded before they are made.
        inhibition: what holds alerts back; nothing does by default.
    """

    def __init__(self, path: Path, journal: Journal | None = None, inhibition: Inhibition | None = None) -> None:
        self.path = path
        self._journal = journal
        self._inhibition = inhibition or Inhibition()

    def file(self, alert: Alert) -> Issue:
        """Open, update or reopen the issue of the alert's problem and return it."""
        self.record([alert])
        found = self.find(alert.fingerprint)
        if found is None:
            raise TrackerError(f"{self.path}: the issue that was filed is gone; file it again")
        return found

    def record(
        self, results: Sequence[Alert | Resolution], *, reader: str | None = None, position: str = ""
    ) -> Recorded:
        """File and resolve ``results`` in the order in which they happened, each once however often this is repeated;
        with ``reader`` remember how far it has read when all are. What was held back and is not any more is filed."""
        # What may be held back comes last, so that what holds it back is known.
        waiting = deque(sorted(results, key=lambda one: (is_inhibited(one.kind), one.moment)))
        with self._changing() as record:
            changed = self._take_all(record, waiting, reader, position)
        filed = sum(isinstance(step, Alert) for step in changed)
        return Recorded(filed, len(changed) - filed)

    def carry_out(self, step: Mapping[str, Any], *, unlogged: bool = False) -> None:
        """Take a step that was recorded, or, ``unlogged``, that the audit log did not take; once more is the same.

        Raises:
            IntegrityError: it is no step, or the tracker is damaged.
            TrackerError, BusyError: the tracker cannot be written.
        """
        with self._transaction() as connection:
            rows.take(connection, step_of(step), unlogged=unlogged)

    def unlogged(self) -> frozenset[str]:
        """The fingerprints of issues that changed while the audit log took no event."""
        with self._reading() as connection:
            found = connection.execute("SELECT fingerprint FROM issues WHERE unlogged = 1").fetchall()
            return frozenset(row["fingerprint"] for row in found)

    def held(self) -> tuple[Alert, ...]:
        """The alerts that open issues hold back, in the order in which they happened."""
        with self._reading() as connection:
            return tuple(held.held(connection))

    def releases(self) -> bool:
        """Whether an alert was held back that nothing holds back any more: the next ``record`` files it."""
        with self._reading() as connection:
            return bool(held.released(connection, self._inhibition))

    def position(self, reader: str) -> str | None:
        """How far ``reader`` has read; None when it never recorded."""
        with self._reading() as connection:
            row = connection.execute("SELECT position FROM positions WHERE reader = ?", (reader,)).fetchone()
            return None if row is None else str(row["position"])

    def note(self, fingerprint: str, key: str, text: str, actor: str) -> bool:
        """Comment on the open issue of a problem, once for each ``key``; whether a comment was added."""
        at = as_text(datetime.now(UTC))
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT number FROM issues WHERE fingerprint = ? AND state = 'open'", (fingerprint,)
            ).fetchone()
            if (
                row is None
                or not connection.execute("INSERT OR IGNORE INTO notes VALUES (?, ?)", (row["number"], key)).rowcount
            ):
                return False
            add_comment(connection, row["number"], at, sanitise(actor), sanitise(text, COMMENT_LIMIT))
            connection.execute("UPDATE issues SET updated_at = ? WHERE number = ?", (at, row["number"]))
            return True

    def find(self, fingerprint: str) -> Issue | None:
        """The issue of a problem, open or closed; None when it never occurred."""
        with self._reading() as connection:
            row = connection.execute("SELECT number FROM issues WHERE fingerprint = ?", (fingerprint,)).fetchone()
            return None if row is None else read(connection, int(row["number"]))

    def is_open(self, fingerprint: str) -> bool:
        """Whether the issue of a problem is open."""
        with self._reading() as connection:
            found = "SELECT 1 FROM issues WHERE fingerprint = ? AND state = 'open'"
            return connection.execute(found, (fingerprint,)).fetchone() is not None

    def show(self, number: int) -> Issue:
        """The issue with this number.

        Raises:
            IssueNotFoundError: there is none.
        """
        with self._reading() as connection:
            return read(connection, number)

    def list(self, state: State | None = None, label: str | None = None) -> tuple[Issue, ...]:
        """Issues by number, of one state and with one label where given."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT number FROM issues WHERE ? IS NULL OR state = ? ORDER BY number", (state, state)
            ).fetchall()
            issues = [read(connection, int(row["number"])) for row in found]
        return tuple(issue for issue in issues if label is None or label in issue.labels)

    def comment(self, number: int, text: str, actor: str) -> Issue:
        """Add a comment.

        Raises:
            IssueNotFoundError: there is no such issue.
        """
        at = as_text(datetime.now(UTC))
        with self._transaction() as connection:
            read(connection, number)
            add_comment(connection, number, at, sanitise(actor), sanitise(text, COMMENT_LIMIT))
            connection.execute("UPDATE issues SET updated_at = ? WHERE number = ?", (at, number))
            return read(connection, number)

    def acknowledge(self, number: int, reason: str, actor: str) -> Issue:
        """Note who works on an open issue.

        Raises:
            IssueNotFoundError: there is no such issue.
            TrackerError: it is closed.
            AuditError: the audit log takes no event; nothing changed.
        """
        with self._changing() as record:
            self._take_a_persons(
                record, number, lambda connection: rows.acknowledging_of(connection, number, reason, actor)
            )
        return self.show(number)

    def outbox(self, target: str) -> Outbox:
        """What waits to be delivered to ``target``."""
        return Outbox(target, self._transaction)

    def backlogs(self) -> dict[str, Backlog]:
        """How far every target is that was ever to be told something, by its name."""
        with self._reading() as connection:
            return backlogs(connection)

    def close(self, number: int, reason: str, actor: str) -> Issue:
        """Close the issue; closing a closed one changes nothing.

        Raises:
            IssueNotFoundError: there is no such issue.
            AuditError: the audit log takes no event; nothing changed.
        """
        with self._changing() as record:
            self._take_a_persons(record, number, lambda connection: rows.closing_of(connection, number, reason, actor))
            self._take_all(record, deque())
        return self.show(number)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Record | None]:
        """Alone with the issues; yields what records a step that the audit log has to know of."""
        if self._journal is None:
            yield None
            return
        with self._failures(), self._journal.changing() as record:
            with self._transaction() as connection:
                late = rows.late_leaves(connection)
            # Where the log still takes no event, the rest is not tried.
            all(record(leaf, step) for leaf, step in late)
            yield record

    def _take_all(
        self,
        record: Record | None,
        waiting: deque[Alert | Resolution],
        reader: str | None = None,
        position: str = "",
    ) -> Sequence[Alert | Resolution]:
        """Take all steps, and file what nothing holds back any more; those that changed something."""
        changed: list[Alert | Resolution] = []
        while True:
            taken, leaf = self._take_unrecorded(record, waiting, reader, position)
            changed += taken
            if record is None or leaf is None:
                return changed
            step = waiting.popleft()
            if not record(leaf, step):
                self.carry_out(step_document(step), unlogged=True)
            changed.append(step)
            with self._transaction() as connection:
                self._overtake(connection, step, waiting)

    def _take_a_persons(
        self, record: Record | None, number: int, make: Callable[[sqlite3.Connection], Closing | Acknowledging]
    ) -> None:
        """Take what a person does to an issue, which is never done without its leaf."""
        with self._transaction() as connection:
            step = make(connection)
            leaf = rows.leaf_of(connection, step)
            if leaf is not None and record is None:
                rows.take(connection, step)
        if leaf is not None and record is not None and not record(leaf, step):
            raise AuditError(
                f"issue {number} stays as it is: the audit log takes no event; see `nethical audit verify`"
            )

    def _take_unrecorded(
        self, record: Record | None, waiting: deque[Alert | Resolution], reader: str | None, position: str
    ) -> tuple[Sequence[Alert | Resolution], Leaf | None]:
        """Take steps in one transaction, up to the first that has to be recorded: those that changed something, and
        what has to be recorded of the next one. When none is left, remember how far ``reader`` has read."""
        changed: list[Alert | Resolution] = []
        with self._transaction() as connection:
            while self._has_next(connection, waiting):
                if held.is_held(connection, waiting[0], self._inhibition):
                    held.hold(connection, waiting.popleft(), self._inhibition)
                    continue
                leaf = None if record is None else rows.leaf_of(connection, waiting[0])
                if leaf is not None:
                    return changed, leaf
                step = waiting.popleft()
                if rows.take(connection, step):
                    changed.append(step)
                self._overtake(connection, step, waiting)
            if reader is not None:
                connection.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (reader, position))
        return changed, None

    def _has_next(self, connection: sqlite3.Connection, waiting: deque[Alert | Resolution]) -> bool:
        """Whether a step is left. When all are taken, what nothing holds back any more follows."""
        if not waiting:
            waiting.extend(held.released(connection, self._inhibition))
        return bool(waiting)

    @staticmethod
    def _overtake(connection: sqlite3.Connection, step: Alert | Resolution, waiting: deque[Alert | Resolution]) -> None:
        """After an occurrence that became known later than its resolution, that comes next."""
        resolution = rows.overtaking(connection, step) if isinstance(step, Alert) else None
        if resolution is not None:
            waiting.appendleft(resolution)

    def check_file(self) -> None:
        """Look at every page of the file: a damaged one is otherwise met by whoever first reads it.

        Raises:
            IntegrityError: the file is damaged.
        """
        with self._reading() as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(" ".join(str(found).split()))

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
        with self._failures(), contextlib.ExitStack() as stack:
            found = stack.enter_context(open_to_read(self.path, _BUSY_SECONDS))
            if found is None:
                found = stack.enter_context(self._connection())
            found.row_factory = sqlite3.Row
            yield found

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
            raise TrackerError(
                f"{self.path}: cannot use the issue tracker ({error.strerror or error}); {advice(error)}"
            ) from None
